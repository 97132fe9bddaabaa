/** Where the real Electron is: named by NESTBOX_ELECTRON, or found or fetched by the project's set-up. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { ROOT } from './world'

export interface ElectronRuntime {
  readonly path: string
  /** What names our app, where the runtime does not hold it already. */
  readonly args: readonly string[]
}

interface ElectronSetup {
  findElectron(): ElectronRuntime | undefined
}

export async function electronRuntime(): Promise<ElectronRuntime> {
  const named = process.env.NESTBOX_ELECTRON
  if (named) {
    if (!existsSync(named)) throw new Error(`NESTBOX_ELECTRON names ${named}, which does not exist`)
    return { path: named, args: [] }
  }
  const setup = (await import(pathToFileURL(join(ROOT, 'scripts/setup/electron.mjs')).href)) as ElectronSetup
  const runtime = setup.findElectron()
  if (!runtime) throw new Error('no Electron can be had on this computer')
  return runtime
}
