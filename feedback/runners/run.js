// Runs examples of a JavaScript or TypeScript file, each apart, and tells the results as TAP lines.
// Arguments: the file under test, the cases as JSON. Functions need not be exported.
'use strict';
const assert = require('assert');
const fs = require('fs');
const os = require('os');
const path = require('path');
const Module = require('module');
const url = require('url');
const util = require('util');
const { spawnSync } = require('child_process');

const ABSENT = /TS(2307|2580|2591|2584|2792|7016|2688)\b|Cannot find name '(require|module|process|console|Buffer)'/;

function bail(text) {
  process.stdout.write(`Bail out! does not compile\n${String(text).slice(0, 4000)}\n`);
  process.exit(1);
}

function translated(file) {
  const out = fs.mkdtempSync(path.join(os.tmpdir(), 'adi-'));
  const options = ['--target', 'es2020', '--module', 'commonjs', '--skipLibCheck', '--outDir', out, file];
  const ran = spawnSync('tsc', options, { encoding: 'utf8' });
  if (ran.error) bail(ran.error.message);
  const errors = ran.stdout.split('\n').filter((line) => /error TS/.test(line) && !ABSENT.test(line));
  if (errors.length) bail(errors.slice(0, 8).join('\n'));
  const name = path.basename(file).replace(/\.[cm]?tsx?$/, '.js');
  const found = fs.readdirSync(out, { recursive: true }).map(String).filter((item) => path.basename(item) === name);
  return fs.readFileSync(path.join(out, found.length ? found[0] : name), 'utf8');
}

async function evaluator(file) {
  const full = path.resolve(file);
  const typed = /\.[cm]?tsx?$/.test(file);
  const source = typed ? translated(file) : fs.readFileSync(full, 'utf8');
  if (!typed && (/\.mjs$/.test(file) || /^\s*(export|import)\s/m.test(source))) {
    const space = await import(url.pathToFileURL(full).href);
    const names = Object.keys(space).filter((name) => name !== 'default');
    return (text) => new Function(...names, `return (${text});`)(...names.map((name) => space[name]));
  }
  const module_ = new Module(full, module);
  module_.filename = full;
  module_.paths = Module._nodeModulePaths(path.dirname(full));
  module_._compile(`${source}\n;globalThis.__adiEvaluate = (text) => eval(text);`, full);
  return (text) => globalThis.__adiEvaluate(`(${text})`);
}

function same(got, want) {
  if (typeof got === 'number' && typeof want === 'number') {
    return Object.is(got, want) || got === want || Math.abs(got - want) <= 1e-6 * Math.max(1e-3, Math.abs(want));
  }
  if (Array.isArray(got) && Array.isArray(want)) {
    return got.length === want.length && want.every((item, index) => same(got[index], item));
  }
  if (got == null || want == null || typeof got !== typeof want) return got == want;
  try {
    assert.deepEqual(got, want);
    return true;
  } catch {
    return false;
  }
}

const shown = (value) => util.inspect(value, { breakLength: Infinity, depth: 6 }).replace(/\s+/g, ' ').slice(0, 300);

async function main() {
  const [file, list] = process.argv.slice(2);
  const cases = JSON.parse(fs.readFileSync(list, 'utf8'));
  const say = fs.writeSync.bind(fs, 1);
  let evaluate;
  try {
    evaluate = await evaluator(file);
  } catch (error) {
    bail(error && error.stack ? error.stack : error);
  }
  say(`1..${cases.length}\n`);
  let failed = 0;
  for (const [index, [call, expected, label]] of cases.entries()) {
    let told = '';
    try {
      const got = await evaluate(call);
      if (!same(got, evaluate(expected))) told = `got ${shown(got)}`;
    } catch (error) {
      told = `threw ${String(error).split('\n')[0]}`;
    }
    if (told) failed += 1;
    say(`${told ? 'not ok' : 'ok'} ${index + 1} - ${label}${told ? ` # expected ${expected}, ${told}` : ''}\n`);
  }
  process.exit(failed ? 1 : 0);
}

main();
