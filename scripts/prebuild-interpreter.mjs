/** Builds tier 0 once, beside the bundles that use it. */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { build } from 'esbuild'
import { root } from './setup/run.mjs'

/** @param bundles absolute paths of the programs that may use it @param folder where it goes */
export async function prebuildInterpreter(bundles, folder) {
  const dir = mkdtempSync(join(tmpdir(), 'nestbox-prebuild-'))
  try {
    const outfile = join(dir, 'prebuild.mjs')
    const contents = `export { prebuildInterpreter } from './src/main/vmm/cpu/interp/prebuilt'
      export { isaRows } from './src/main/vmm/cpu/isa'
      export { programId } from './src/main/host/cached-program'`
    await build({ stdin: { contents, resolveDir: root, loader: 'ts' }, outfile, bundle: true, platform: 'node', format: 'esm', logLevel: 'warning' })
    const { prebuildInterpreter: prebuild, isaRows, programId } = await import(pathToFileURL(outfile).href)
    const { plan, bytes } = prebuild(isaRows)
    const ids = Object.fromEntries(bundles.filter((path) => existsSync(path)).map((path) => [basename(path), programId(path)]))
    writeFileSync(join(folder, 'interpreter.wasm'), bytes)
    writeFileSync(join(folder, 'interpreter.json'), `${JSON.stringify({ plan, bundles: ids })}\n`)
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}
