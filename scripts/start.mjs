/** `npm start`: installs what is missing, builds, and opens the app; without a display it serves the same app to a browser. */
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { ensureNpmPackages } from './setup/npm.mjs'
import { ensureSystemPackages } from './setup/packages.mjs'
import { output, root, run, say } from './setup/run.mjs'

/** Libraries Electron needs on a bare Debian. */
const DESKTOP_PACKAGES = {
  'libnss3': 'Electron', 'libgtk-3-0': 'Electron', 'libasound2': 'Electron', 'libgbm1': 'Electron', 'libxss1': 'Electron',
}

/** Runs the app in the foreground: it hears what this process is told, and its exit code is ours. */
function become(command, args) {
  const child = spawn(command, args, { stdio: 'inherit', cwd: root })
  // Ctrl-C reaches both from the terminal; only the app decides when it is done.
  process.on('SIGINT', () => undefined)
  for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal))
  child.on('error', (error) => {
    say(error.message)
    process.exit(1)
  })
  child.on('exit', (code) => process.exit(code ?? 1))
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
  // Run as plain Node it shows whether its libraries are there, without a window.
  if (output(electron.path, ['-p', '1'], { env: { ...process.env, ELECTRON_RUN_AS_NODE: '1' } }) === undefined) {
    say(`${electron.path} does not run here; are its system libraries installed?`)
    return false
  }
  // Machines start sooner.
  const { prebuildCode } = await import('./prebuild-code.mjs')
  await prebuildCode(electron.path, { command: false })
  const sandbox = process.getuid?.() === 0 ? ['--no-sandbox'] : []
  become(electron.path, [...electron.args, ...sandbox])
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
    become(process.execPath, [join(root, 'out/cli/nestbox.cjs'), 'serve', ...process.argv.slice(2)])
  }
} catch (error) {
  say(error.message)
  process.exit(1)
}
