/**
 * `npm run package:dir`: the unpacked application of this platform, in dist/. On Linux it takes the Electron that `npm start`
 * found, so it works where Electron's own download does not; installers are made with `npx electron-builder` on each platform.
 */
import { cpSync, existsSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { findElectron } from './setup/electron.mjs'
import { ensureNpmPackages } from './setup/npm.mjs'
import { output, root, run, say } from './setup/run.mjs'

/** Electron without the app that may be linked into it: electron-builder puts ours there, and must not follow that link. */
function bareRuntime(executable) {
  const from = dirname(executable)
  const into = join(root, '.cache', 'electron-dist')
  const linked = join(from, 'resources', 'app')
  rmSync(into, { recursive: true, force: true })
  cpSync(from, into, { recursive: true, verbatimSymlinks: true, filter: (path) => path !== linked })
  return into
}

/** Version of an Electron, which alone knows it. */
function versionOf(executable) {
  const env = { ...process.env, ELECTRON_RUN_AS_NODE: '1' }
  const version = output(executable, ['-p', 'process.versions.electron'], { env })?.trim()
  if (!version) throw new Error(`${executable} does not run; are its system libraries installed?`)
  return version
}

/** A tree that lacks a part of the app is no application. */
function checkTree(tree) {
  const app = join(tree, 'resources', 'app')
  const needed = ['package.json', 'out/main/index.cjs', 'out/main/vm-host.cjs', 'out/main/vm-host-program.cjs', 'out/main/translator.cjs', 'out/main/translator-program.cjs', 'out/preload/index.cjs', 'out/renderer/index.html', 'out/cli/nestbox.cjs', 'out/cli/nestbox-program.cjs']
  const missing = needed.filter((path) => !existsSync(join(app, path)))
  if (missing.length > 0) throw new Error(`${tree} lacks ${missing.join(', ')}`)
  const { main } = JSON.parse(readFileSync(join(app, 'package.json'), 'utf8'))
  if (main !== 'out/main/index.cjs') throw new Error(`${tree} would start ${main}`)
}

try {
  ensureNpmPackages()
  if (!process.argv.includes('--no-build')) run('node', ['scripts/build.mjs'])
  const electron = findElectron()
  if (!electron) throw new Error('no Electron can be had here')
  const version = versionOf(electron.path)
  say(`packing with Electron ${version} (${electron.kind})`)
  const { prebuildCode } = await import('./prebuild-code.mjs')
  await prebuildCode(electron.path, { command: false })
  const options = electron.kind === 'fallback' ? [`-c.electronDist=${bareRuntime(electron.path)}`, `-c.electronVersion=${version}`] : []
  rmSync(join(root, 'dist'), { recursive: true, force: true })
  run('npx', ['--no-install', 'electron-builder', '--dir', '--publish', 'never', ...options])
  if (process.platform === 'linux') {
    const tree = readdirSync(join(root, 'dist')).find((name) => name.startsWith('linux') && name.endsWith('unpacked'))
    if (!tree) throw new Error('electron-builder made no unpacked directory')
    checkTree(join(root, 'dist', tree))
    say(`the application is in dist/${basename(tree)}`)
  }
} catch (error) {
  say(error.message)
  process.exitCode = 1
}
