/** A whole boot on two tiers side by side: interpreted, and translated as far as it goes. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { buildSync } from 'esbuild'
import { afterAll, expect, it } from 'vitest'
import { GuestConsole } from './console'

const root = fileURLToPath(new URL('../..', import.meta.url))
const BOOT_TIMEOUT = 400_000
const dir = mkdtempSync(join(tmpdir(), 'nestbox-lockstep-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))

it('amd64-cloud does the same on tiers 0 and 2, to the shell and to power-off', async () => {
  const cli = join(dir, 'nestbox.cjs')
  buildSync({ entryPoints: [`${root}src/main/cli/index.ts`], outfile: cli, bundle: true, platform: 'node', target: 'node18', format: 'cjs', logLevel: 'error' })
  const kernel = join(root, '.cache/guests/amd64-cloud')
  const stats = join(dir, 'stats.json')
  const guest = new GuestConsole(cli, [
    '--lockstep', '0,2', '--kernel', join(kernel, 'vmlinuz'), '--initrd', join(kernel, 'initrd.gz'), '--append', 'console=ttyS0 panic=-1',
    '--memory', '128', '--no-reboot', '--stats', stats,
  ])
  try {
    await guest.waitFor(/NESTBOX-SHELL-READY[\s\S]*# /, BOOT_TIMEOUT)
    expect(await guest.run('uname -m; seq 1 200 | sha256sum')).toContain('x86_64')
    guest.type('poweroff -f\n')
    const end = await guest.ended(60_000)
    expect(end.output).toMatch(/Tiers 0 and 2 did the same in \d+ instructions/)
    expect(end.code, end.output.slice(-4000)).toBe(0)
    const figures = JSON.parse(readFileSync(stats, 'utf8')) as { instructions: number; steps: number }
    expect(figures).toMatchObject({ stop: { kind: 'power-off' } })
    expect(figures.instructions).toBeGreaterThan(5e8)
    expect(figures.steps).toBeGreaterThan(20_000)
  } finally {
    guest.kill()
  }
}, BOOT_TIMEOUT + 120_000)
