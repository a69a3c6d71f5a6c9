# Builds and runs the examples of one file in a compiled language, and tells the results as TAP lines.
# Usage: sh compiled.sh LANGUAGE FILE FOLDER, at the root of the repository.
# An example has one line of the program: where only such lines do not compile they are left out.
language=$1 file=$2 folder=$3
out=$(mktemp -d) || exit 1
trap 'rm -rf "$out"' EXIT
errors=$out/errors
case $language in
java)
    program=$out/AdiExamples.java
    package=$(sed -n 's/^[[:space:]]*package[[:space:]]\{1,\}\([A-Za-z0-9_.]*\)[[:space:]]*;.*/\1/p' "$file" | head -n 1)
    { [ -z "$package" ] || echo "package $package;"; sed -n '/^[[:space:]]*import[[:space:]]/p' "$file"; cat "$folder/java.txt"; } > "$program"
    top=$(dirname "$file")
    [ -z "$package" ] || top=${top%"/$(echo "$package" | tr . /)"}
    build() { mkdir -p "$out/classes"; javac -nowarn -encoding UTF-8 -sourcepath "$top:." -d "$out/classes" "$program" "$file"; }
    run() { java -ea -cp "$out/classes" "${package:+$package.}AdiExamples"; }
    ;;
cpp)
    program=$out/examples.cpp
    cp "$folder/run.cpp" "$program"
    build() { g++ -w -O0 -I. -I"$(dirname "$file")" -DADI_FILE="\"$PWD/$file\"" -o "$out/run" "$program"; }
    run() { "$out/run"; }
    ;;
rs)
    program=$out/examples.rs
    sed 's/^\(pub \)\{0,1\}fn main *()/fn adi_program_main()/' "$file" > "$program"
    cat "$folder/run.rs" >> "$program"
    build() { rustc --edition 2021 -A warnings -o "$out/run" "$program"; }
    run() { "$out/run"; }
    ;;
go)
    package=$(sed -n 's/^package[[:space:]]\{1,\}\([A-Za-z0-9_]*\).*/\1/p' "$file" | head -n 1)
    export GOFLAGS=-vet=off
    if [ -f go.mod ]; then
        program=$out/adi_examples_test.go
        virtual=$PWD/$(dirname "$file")/adi_examples_test.go
        printf '{"Replace": {"%s": "%s"}}' "$virtual" "$program" > "$out/overlay.json"
        build() { go test -c -overlay "$out/overlay.json" -o "$out/run" "./$(dirname "$file")"; }
    else
        program=$out/go/adi_examples_test.go
        copy=$out/go/$(basename "$file")
        mkdir "$out/go"
        cp "$file" "$copy"
        build() {
            (cd "$out/go" && GO111MODULE=off go test -c -o "$out/run") 2> "$out/first" && return
            # What only the file's own tests import is left out.
            unused=$(sed -n "s|^\./$(basename "$file"):\([0-9]*\):.*imported and not used.*|\1d|p" "$out/first")
            [ -z "$unused" ] || sed -i "$unused" "$copy"
            (cd "$out/go" && GO111MODULE=off go test -c -gcflags=-e -o "$out/run")
        }
    fi
    { echo "package $package"; cat "$folder/go.txt"; } > "$program"
    run() { "$out/run" -test.run '^TestAdiExamples$'; }
    ;;
esac
if ! build > "$errors" 2>&1; then
    name=$(basename "$program")
    wrong=$(grep -o "$name:[0-9]*" "$errors" | cut -d: -f2 | sort -un)
    for line in $wrong; do
        text=$(sed -n "${line}p" "$program")
        number=$(echo "$text" | sed -n 's|.*/\*example \([0-9]*\)\*/.*|\1|p')
        [ -z "$number" ] && continue
        sed -i "${line}s|.*||" "$program"
        skipped="$skipped $number"
    done
    if [ -z "$skipped" ] || ! grep -q '/\*example [0-9]*\*/' "$program" || ! build > "$out/again" 2>&1; then
        echo 'Bail out! does not compile'
        sed -e "s|$out/examples.rs|$file|g; s|$PWD/||g; s|^\./||" "$errors" | head -n 40
        exit 1
    fi
fi
echo "1..$(cat "$folder/count")"
for number in $skipped; do echo "ok $number - example # SKIP does not compile"; done
run
