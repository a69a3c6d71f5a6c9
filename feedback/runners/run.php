<?php
// Runs examples of a PHP file, each apart, and tells the results as TAP lines.
// Arguments: the file under test, the cases as JSON.
function adi_same($got, $want): bool {
    if (is_array($got) && is_array($want)) {
        if (count($got) !== count($want)) { return false; }
        foreach ($want as $key => $value) {
            if (!array_key_exists($key, $got) || !adi_same($got[$key], $value)) { return false; }
        }
        return true;
    }
    if ((is_int($got) || is_float($got)) && (is_int($want) || is_float($want))) {
        return $got == $want || abs($got - $want) <= 1e-6 * max(1e-3, abs($want)) && (is_float($got) || is_float($want));
    }
    if (is_object($got) && is_object($want)) { return $got == $want; }
    return $got === $want;
}

function adi_line($text): string {
    return substr(preg_replace('/\s+/', ' ', $text), 0, 300);
}

function adi_bail($error): void {
    $place = $error->getFile() . ':' . $error->getLine();
    fwrite(STDOUT, "Bail out! does not load\n$place: {$error->getMessage()}\n");
    exit(1);
}

$adi_cases = json_decode(file_get_contents($argv[2]), true);
try {
    ob_start();
    require getcwd() . '/' . $argv[1];
    ob_end_clean();
} catch (Throwable $error) {
    ob_end_clean();
    adi_bail($error);
}
fwrite(STDOUT, '1..' . count($adi_cases) . "\n");
$adi_failed = 0;
foreach ($adi_cases as $adi_index => [$adi_call, $adi_expected, $adi_label]) {
    $adi_told = '';
    ob_start();
    try {
        $adi_got = eval("return ($adi_call);");
        if (!adi_same($adi_got, eval("return ($adi_expected);"))) {
            $adi_told = 'got ' . json_encode($adi_got, JSON_PRESERVE_ZERO_FRACTION | JSON_PARTIAL_OUTPUT_ON_ERROR);
        }
    } catch (Throwable $adi_error) {
        $adi_told = 'threw ' . get_class($adi_error) . ': ' . $adi_error->getMessage();
    }
    ob_end_clean();
    $adi_failed += $adi_told ? 1 : 0;
    $adi_number = $adi_index + 1;
    fwrite(STDOUT, ($adi_told ? 'not ok' : 'ok') . " $adi_number - $adi_label");
    fwrite(STDOUT, ($adi_told ? " # expected $adi_expected, " . adi_line($adi_told) : '') . "\n");
}
exit($adi_failed ? 1 : 0);
