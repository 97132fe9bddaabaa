/** Where the real Electron is: named by NESTBOX_ELECTRON, or brought by the project's set-up. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { ROOT } from './world'

interface ElectronSetup {
  /** Makes sure a runtime with our built app in it exists. @returns its executable */
  ensureElectron(): string | Promise<string>
}

export async function electronRuntime(): Promise<string> {
  const named = process.env.NESTBOX_ELECTRON
  if (named) {
    if (!existsSync(named)) throw new Error(`NESTBOX_ELECTRON names ${named}, which does not exist`)
    return named
  }
  const setup = (await import(pathToFileURL(join(ROOT, 'scripts/setup/electron.mjs')).href)) as ElectronSetup
  return setup.ensureElectron()
}
