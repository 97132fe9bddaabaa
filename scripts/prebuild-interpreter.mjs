/** Builds what lies beside the bundles: tier 0, compiled by the engine, and what gives back the free part of a heap. */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { build } from 'esbuild'
import { root } from './setup/run.mjs'

const PARTS = `export { prebuildInterpreter } from './src/main/vmm/cpu/interp/prebuilt'
  export { isaRows } from './src/main/vmm/cpu/isa'
  export { programId } from './src/main/host/cached-program'
  export { TRIM_OBJECT, writeTrimObject } from './src/main/host/trim-heap'`

/** Run by itself: an engine that has other functions than expected ends the process. Arguments: the module, the folder of the code. */
const COMPILE = `import { readFileSync, writeFileSync } from 'node:fs'
  import { join } from 'node:path'
  import { compileWhole, ENGINE, machineCodeOf, moduleFrom } from './src/main/host/machine-code'
  const [module, folder] = process.argv.slice(2)
  const bytes = readFileSync(module)
  const code = machineCodeOf(compileWhole(bytes))
  if (!moduleFrom(bytes, code)) throw new Error('the engine does not take its own code back')
  writeFileSync(join(folder, 'interpreter.' + ENGINE + '.code'), code)`

const bundle = async (contents, outfile) => {
  await build({ stdin: { contents, resolveDir: root, loader: 'ts' }, outfile, bundle: true, platform: 'node', format: 'esm', logLevel: 'warning' })
  return outfile
}

/** @param bundles absolute paths of the programs that may use it @param folder where it goes */
export async function prebuildInterpreter(bundles, folder) {
  const dir = mkdtempSync(join(tmpdir(), 'nestbox-prebuild-'))
  try {
    const { prebuildInterpreter: prebuild, isaRows, programId, TRIM_OBJECT, writeTrimObject } = await import(pathToFileURL(await bundle(PARTS, join(dir, 'prebuild.mjs'))).href)
    const { plan, bytes } = prebuild(isaRows)
    const ids = Object.fromEntries(bundles.filter((path) => existsSync(path)).map((path) => [basename(path), programId(path)]))
    const module = join(folder, 'interpreter.wasm')
    for (const name of readdirSync(folder)) if (name.startsWith('interpreter.') && name.endsWith('.code')) rmSync(join(folder, name))
    writeFileSync(module, bytes)
    writeTrimObject(join(folder, TRIM_OBJECT))
    writeFileSync(join(folder, 'interpreter.json'), `${JSON.stringify({ plan, bundles: ids })}\n`)
    compileAhead(await bundle(COMPILE, join(dir, 'compile.mjs')), module, folder)
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}

/** Without it machines compile what they use while they run. */
function compileAhead(program, module, folder) {
  try {
    execFileSync(process.execPath, [program, module, folder], { stdio: ['ignore', 'inherit', 'pipe'] })
  } catch (error) {
    console.warn(`tier 0 is not compiled ahead: ${error.message}`)
  }
}
