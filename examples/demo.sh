#!/usr/bin/env bash
# The main job on a copy of examples/invoices, twice: a failing test and a function to write in, accepted and
# tested changes out.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
repo=$work/invoices
cp -r "$here/invoices" "$repo"
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
git -C "$repo" init --quiet --initial-branch=main
git -C "$repo" add --all
commit() { git -C "$repo" -c user.name=demo -c user.email=demo@localhost commit --quiet --all --message "$1"; }
commit 'Invoices of a small shop'

echo '$ adi run "Discounts must begin at the step: 10 pieces already get 5 percent." --yes'
adi run "Discounts must begin at the step: 10 pieces already get 5 percent." --repo "$repo" --yes
commit 'Discounts begin at the step'

echo
echo '$ adi run "Write the function parts in invoices/money.py." --yes'
adi run "Write the function parts in invoices/money.py." --repo "$repo" --yes

echo
echo '$ git diff          (the change accepted last, in the working tree)'
git -C "$repo" --no-pager diff --color=never
echo
echo '$ adi log'
adi log --repo "$repo" --limit 2
