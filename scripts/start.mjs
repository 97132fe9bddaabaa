/** `npm start`: installs what is missing, builds, and opens the app; without a display it serves the same app to a browser. */
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { ensureNpmPackages } from './setup/npm.mjs'
import { ensureSystemPackages } from './setup/packages.mjs'
import { root, run, say } from './setup/run.mjs'

/** Libraries Electron needs on a bare Debian. */
const DESKTOP_PACKAGES = {
  'libnss3': 'Electron', 'libgtk-3-0': 'Electron', 'libasound2': 'Electron', 'libgbm1': 'Electron', 'libxss1': 'Electron',
}

const hasDisplay = () => process.platform !== 'linux' || Boolean(process.env.DISPLAY || process.env.WAYLAND_DISPLAY)

async function startDesktop() {
  if (process.platform === 'linux') {
    try {
      ensureSystemPackages(DESKTOP_PACKAGES)
    } catch (error) {
      say(error.message)
    }
  }
  const { findElectron } = await import('./setup/electron.mjs')
  const electron = findElectron()
  if (!electron) return false
  const sandbox = process.getuid?.() === 0 ? ['--no-sandbox'] : []
  spawn(electron.path, [...electron.args, ...sandbox], { stdio: 'inherit', cwd: root }).on('exit', (code) => process.exit(code ?? 0))
  return true
}

try {
  ensureNpmPackages()
  say('building')
  run('node', ['scripts/build.mjs'])
  const opened = hasDisplay() && await startDesktop().catch((error) => {
    say(error.message)
    return false
  })
  if (!opened) {
    say(hasDisplay() ? 'no Electron can be had here: serving the app to a browser' : 'there is no display: serving the app to a browser')
    spawn(process.execPath, [join(root, 'out/cli/nestbox.cjs'), 'serve'], { stdio: 'inherit' }).on('exit', (code) => process.exit(code ?? 0))
  }
} catch (error) {
  say(error.message)
  process.exit(1)
}
