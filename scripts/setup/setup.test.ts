/** The two commands on machines that lack something: what they say, what they run, and what they do without. */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { chmodSync, cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'

const { TEST_PACKAGES } = await import('./packages.mjs' as string) as { TEST_PACKAGES: Record<string, string> }

/** Who runs it decides whether packages may be installed. */
const USERS = { root: 0, user: 1000 } as const
let root: string

/** A program of the set-up's PATH: says into `calls` what it was called with, then does `then`. */
function standIn(name: string, then: string): void {
  const path = join(root, 'bin', name)
  writeFileSync(path, `#!/bin/sh\necho "${name} $*" >> "${join(root, 'calls')}"\n${then}\n`)
  chmodSync(path, 0o755)
}

function put(name: string, text: string): void {
  mkdirSync(dirname(join(root, name)), { recursive: true })
  writeFileSync(join(root, name), text)
}

interface Outcome { code: number | null; out: string }

function npm(script: 'start' | 'test', as: keyof typeof USERS, env: Record<string, string> = {}): Outcome {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(root, 'scripts', `${script}.mjs`)], {
    cwd: root, encoding: 'utf8', timeout: 30_000, env: { PATH: `${join(root, 'bin')}:/usr/bin:/bin`, HOME: root, NESTBOX_NO_DOWNLOAD: '1', NODE_OPTIONS: `--import data:text/javascript,process.getuid=()=>${USERS[as]}`, ...env },
  })
  return { code: status, out: stdout + stderr }
}

const calls = (): string[] => (existsSync(join(root, 'calls')) ? readFileSync(join(root, 'calls'), 'utf8').trim().split('\n') : [])

/** A checkout with these scripts and nothing that takes time: no packages to find, a build that is there at once. */
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'nestbox-setup-'))
  cpSync(join(import.meta.dirname, '..'), join(root, 'scripts'), { recursive: true })
  put('package.json', '{ "name": "nestbox", "version": "0", "type": "module" }')
  put('package-lock.json', '{}')
  put('node_modules/.nestbox-lock', createHash('sha256').update('{}').digest('hex'))
  put('scripts/build.mjs', '')
  put('out/cli/nestbox.cjs', 'console.log(`served: ${process.argv.slice(2).join(" ")}`)')
  put('bin/.keep', '')
  put('calls', '')
  standIn('dpkg-query', 'exit 1')
  standIn('npm', 'exit 1')
})

afterEach(() => rmSync(root, { recursive: true, force: true }))

describe('npm test', () => {
  it('prints the command to run where it may not install', () => {
    const { code, out } = npm('test', 'user')
    expect(code).toBe(1)
    expect(out).toContain(`sudo apt-get install -y --no-install-recommends ${Object.keys(TEST_PACKAGES).join(' ')}\n`)
    expect(calls().filter((line) => !line.startsWith('dpkg-query'))).toEqual([])
  })

  it('says what it installs, and asks for what is missing only', () => {
    standIn('dpkg-query', '[ "$3" = nasm ] || [ "$3" = cpio ] || echo "install ok installed"')
    // Without packages it goes no further.
    standIn('apt-get', 'exit 1')
    const { code, out } = npm('test', 'root')
    expect(code).toBe(1)
    expect(out).toContain('installing nasm (bare-metal test kernels)')
    expect(out).toContain('installing cpio (initramfs images)')
    expect(out).toContain('failed with exit code 1')
    expect(calls().filter((line) => line.startsWith('apt-get'))).toEqual(['apt-get update -qq', 'apt-get install -y -qq --no-install-recommends nasm cpio'])
  })
})

describe('npm start', () => {
  it('serves the app to a browser where there is no display', () => {
    const { code, out } = npm('start', 'user')
    expect(code).toBe(0)
    expect(out).toMatch(/there is no display: serving the app to a browser[^]*served: serve\n/)
    expect(calls().join()).not.toContain('dpkg-query')
  })

  it('prints the command for the desktop’s libraries, and serves the app where no Electron can be had', () => {
    const { code, out } = npm('start', 'user', { DISPLAY: ':99' })
    expect(code).toBe(0)
    expect(out).toContain('sudo apt-get install -y --no-install-recommends libnss3 libgtk-3-0 libasound2 libgbm1 libxss1\n')
    expect(out).toMatch(/no Electron can be had here: serving the app to a browser[^]*served: serve\n/)
  })

  it('installs npm packages that are not those of the lock file', () => {
    put('package-lock.json', '{ "changed": true }')
    standIn('npm', '')
    const { code, out } = npm('start', 'user')
    expect(code).toBe(0)
    expect(out).toContain('installing npm packages (npm ci)')
    expect(calls()).toContain('npm ci --no-progress --loglevel=error')
  })

  it('says why it cannot go on', () => {
    put('scripts/build.mjs', 'process.exit(3)')
    const { code, out } = npm('start', 'user')
    expect(code).toBe(1)
    expect(out).toContain('node scripts/build.mjs failed with exit code 3')
  })
})
