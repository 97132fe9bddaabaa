/** What both end-to-end suites need: a fresh home, a display, the built app. */
import { spawn, type ChildProcess } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const ROOT = fileURLToPath(new URL('../..', import.meta.url))
export const SCREENSHOTS = join(ROOT, 'test-results', 'e2e')

/** The parts of the built app a suite starts from. */
export function requireBuild(...files: readonly string[]): void {
  const missing = files.filter((file) => !existsSync(join(ROOT, file)))
  if (missing.length > 0) throw new Error(`not built: ${missing.join(', ')}. Run "npm run build" first.`)
}

export interface World {
  /** Environment for the app: its own library, its own settings, English. */
  readonly env: Record<string, string>
  /** Folder of the machines. */
  readonly home: string
  dispose(): Promise<void>
}

function startXvfb(): Promise<{ display: string; process: ChildProcess }> {
  return new Promise((resolve, reject) => {
    // Descriptor 3 is where Xvfb writes the display number it found free.
    const process = spawn('Xvfb', ['-displayfd', '3', '-screen', '0', '1400x900x24', '-nolisten', 'tcp'], { stdio: ['ignore', 'ignore', 'ignore', 'pipe'] })
    process.once('error', reject)
    process.once('exit', (code) => reject(new Error(`Xvfb ended with ${code}`)))
    process.stdio[3]?.once('data', (number: Buffer) => resolve({ display: `:${number.toString().trim()}`, process }))
  })
}

/** @param needsDisplay starts a virtual one where there is none */
export async function createWorld(needsDisplay: boolean): Promise<World> {
  const folder = await mkdtemp(join(tmpdir(), 'nestbox-e2e-'))
  const xvfb = needsDisplay && !process.env.DISPLAY ? await startXvfb() : undefined
  const home = join(folder, 'library')
  const inherited = Object.entries(process.env).filter((entry): entry is [string, string] => entry[1] !== undefined)
  return {
    home,
    env: {
      ...Object.fromEntries(inherited),
      NESTBOX_HOME: home,
      XDG_CONFIG_HOME: join(folder, 'config'),
      LC_ALL: 'C.UTF-8',
      LANGUAGE: 'en',
      ...(xvfb ? { DISPLAY: xvfb.display } : {}),
    },
    async dispose() {
      xvfb?.process.kill()
      await rm(folder, { recursive: true, force: true, maxRetries: 5 })
    },
  }
}
