/** Builds what lies beside the bundles: tier 0, and what gives back the free part of a heap. */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { build } from 'esbuild'
import { root } from './setup/run.mjs'

const PARTS = `export { prebuildInterpreter } from './src/main/vmm/cpu/interp/prebuilt'
  export { isaRows } from './src/main/vmm/cpu/isa'
  export { programId } from './src/main/host/cached-program'
  export { TRIM_OBJECT, writeTrimObject } from './src/main/host/trim-heap'`

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
    writeFileSync(join(folder, 'interpreter.wasm'), bytes)
    writeTrimObject(join(folder, TRIM_OBJECT))
    writeFileSync(join(folder, 'interpreter.json'), `${JSON.stringify({ plan, bundles: ids })}\n`)
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}
