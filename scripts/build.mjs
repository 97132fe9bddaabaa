/** Builds the app (main, preload, renderer) and the command line tool into out/. */
import { createHash } from 'node:crypto'
import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { build } from 'esbuild'
import { prebuildCode, removeCode } from './prebuild-code.mjs'
import { prebuildInterpreter } from './prebuild-interpreter.mjs'
import { root, run } from './setup/run.mjs'

// A process keeps its program's source as long as it lives: a third of that would be comments and indentation.
const compact = { minifyWhitespace: true, lineLimit: 120 }
const shared = { bundle: true, platform: 'node', target: 'node18', format: 'cjs', sourcemap: true, logLevel: 'warning', external: ['electron'], ...compact }

/** The bundle says at its end what it is (`host/cached-program.ts`), and is pure ASCII: the engine reads that faster. */
async function buildProgram(entry, outfile) {
  const path = join(root, outfile)
  await build({ ...shared, entryPoints: [join(root, entry)], outfile: path })
  // Only comments that are kept have other characters: the bundler writes strings in ASCII.
  const text = readFileSync(path, 'utf8').replace(/[^\0-\x7f]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`)
  writeFileSync(path, `${text}\n// build ${createHash('sha256').update(text).digest('hex')}\n`)
  return path
}

/**
 * A small program that runs another one, with the engine's code for it where that was kept.
 * @param use expression that tells what it is run for, where it has several uses
 * @returns its path
 */
async function buildLauncher(program, outfile, { use = 'undefined', banner } = {}) {
  const contents = `import { join } from 'node:path'
    import { runProgram } from './src/main/host/cached-program'
    runProgram(join(__dirname, '${program}'), { keep: process.env.NESTBOX_KEEP_CODE === '1', use: ${use} })`
  const path = join(root, outfile)
  await build({ ...shared, sourcemap: false, stdin: { contents, resolveDir: root, loader: 'ts' }, outfile: path, ...(banner ? { banner: { js: banner } } : {}) })
  return path
}

if (!process.argv.includes('--node-only')) run('npx', ['--no-install', 'electron-vite', 'build', '--logLevel', 'warn'])
const machineProgram = await buildProgram('src/main/vm-host/index.ts', 'out/main/vm-host-program.cjs')
await buildLauncher('vm-host-program.cjs', 'out/main/vm-host.cjs')
const translatorProgram = await buildProgram('src/main/vm-host/translator.ts', 'out/main/translator-program.cjs')
await buildLauncher('translator-program.cjs', 'out/main/translator.cjs')
const compiler = await buildProgram('src/main/vm-host/pack-compiler.ts', 'out/main/pack-compiler.cjs')
const command = await buildProgram('src/main/cli/index.ts', 'out/cli/nestbox-program.cjs')
// One thread compiles beside the guest's: more of them would take the guest's place on a computer with two cores (decision 6).
// What the allocator is told is what `spare-processes.ts` tells it of a machine's process.
const allocator = 'MALLOC_MMAP_THRESHOLD_=40960 MALLOC_TRIM_THRESHOLD_=67108864 MALLOC_ARENA_MAX=1'
const cli = await buildLauncher('nestbox-program.cjs', 'out/cli/nestbox.cjs', {
  use: "process.argv[2] === 'run' ? 'run' : 'manage'", banner: `#!/usr/bin/env -S ${allocator} node --v8-pool-size=1`,
})
chmodSync(cli, 0o755)
await prebuildInterpreter([machineProgram, translatorProgram, compiler, command], join(root, 'out/main'))
removeCode()
await prebuildCode(process.execPath, { command: true })
