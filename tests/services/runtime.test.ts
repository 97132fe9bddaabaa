import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { inEnglish, type HotBlock, type MachineSettings } from '../../src/preload/contract'
import { ConsoleHub } from '../../src/main/services/console'
import { MachineRuntime, type RunnableMachine } from '../../src/main/services/runtime'
import { buildVmHost } from '../fixtures/build-vm-host'
import { GUESTS, buildTinyKernel } from '../fixtures/tiny-kernel'

const ID = '11111111-2222-4333-8444-555555555555'
const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes)

describe('machine runtime', () => {
  let dir: string
  let entry: string
  let consoles: ConsoleHub
  let runtime: MachineRuntime
  let states: string[]

  beforeAll(() => {
    entry = buildVmHost()
  })

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'nestbox-runtime-'))
    states = []
    consoles = new ConsoleHub(() => join(dir, 'logs'), () => undefined)
    runtime = new MachineRuntime({
      entry, consoles, nameOf: () => 'test', onStateChanged: (id) => states.push(runtime.status(id).state), onFigures: () => undefined, savedState: () => undefined, translationsDir: join(dir, 'translations'),
    })
  })

  afterEach(async () => {
    await runtime.shutdown('stop')
    rmSync(dir, { recursive: true, force: true })
  })

  function machine(kernel: string, change: Partial<MachineSettings> = {}): RunnableMachine {
    const settings: MachineSettings = {
      name: 'test', group: '', tags: [], notes: '', memoryMiB: 32, cpuProfile: 'nestbox64', kernel, initrd: '', commandLine: '',
      disks: [], onReset: 'stop', maxTier: 0, ...change,
    }
    return { id: ID, settings, logDir: join(dir, 'logs') }
  }

  function guest(name: keyof typeof GUESTS): string {
    const path = join(dir, `${name}.bin`)
    writeFileSync(path, buildTinyKernel(GUESTS[name]))
    return path
  }

  async function until(condition: () => boolean, what: string): Promise<void> {
    const end = Date.now() + 20_000
    while (!condition()) {
      if (Date.now() > end) throw new Error(`waited in vain for: ${what}; ${JSON.stringify(runtime.status(ID))}; console: ${text(consoles.history(ID, 'ttyS0')).slice(-200)}`)
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }

  const reports = (): string[] => readdirSync(join(dir, 'logs')).filter((name) => name.startsWith('crash-')).map((name) => join(dir, 'logs', name))
  const stopped = (): Promise<void> => until(() => runtime.runningCount === 0, 'the end of the machine')

  it('runs a guest to its power-off and keeps what it said', async () => {
    await runtime.start(machine(guest('hello')))
    await stopped()
    expect(runtime.status(ID)).toEqual({ state: 'stopped' })
    expect(text(consoles.history(ID, 'ttyS0'))).toContain('hello from the guest')
    expect(states[0]).toBe('starting')
    expect(states.at(-1)).toBe('stopped')
  })

  it('tells the hottest guest code, disassembled, and the WebAssembly it became', async () => {
    const path = join(dir, 'loop.bin')
    // A loop of its own and a store: hot at once, and translated as far as tier 2 goes.
    writeFileSync(path, buildTinyKernel(`
again:
  add rax, 0x1234
  mov [0x300000], rax
  dec rcx
  jnz again
  jmp again`))
    await expect(runtime.hotBlocks(ID, 5)).rejects.toMatchObject({ code: 'wrong-state' })
    await runtime.start(machine(path, { maxTier: 2 }))
    let block: HotBlock | undefined
    for (const end = Date.now() + 20_000; Date.now() < end && block?.tier !== 2;) {
      block = (await runtime.hotBlocks(ID, 5)).at(0)
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    expect(block).toMatchObject({ address: '0x100200', mode: 'long-64', ring: 0, tier: 2 })
    expect(block?.lines.map(({ address, bytes, text: line }) => `${address} ${bytes} ${line}`).slice(0, 2)).toEqual([
      '0x100200 48 05 34 12 00 00 add rax,0x1234', '0x100206 48 89 04 25 00 00 30 00 mov qword ptr [0x300000],rax',
    ])
    const wasm = await runtime.wasmOf(ID, '0x100200', block?.modeKey ?? 0)
    expect(wasm).toMatch(/^;; region of the page's bytes 0x200/)
    expect(wasm).toContain('i64.const 0x1234')
    expect(wasm).toMatch(/^ +loop$/m)
    expect(await runtime.wasmOf(ID, '0xdead', 0)).toBeNull()
    runtime.pause(ID)
    await until(() => runtime.status(ID).state === 'paused', 'the pause')
    expect((await runtime.hotBlocks(ID, 1)).length).toBe(1)
  })

  it('answers keys, pauses and resumes', async () => {
    await runtime.start(machine(guest('echo')))
    expect(consoles.write(ID, 'ttyS0', 'a')).toBe(true)
    await until(() => text(consoles.history(ID, 'ttyS0')).includes('a'), 'the echo of a')
    runtime.pause(ID)
    await until(() => runtime.status(ID).state === 'paused', 'the pause')
    consoles.write(ID, 'ttyS0', 'b')
    await new Promise((resolve) => setTimeout(resolve, 300))
    expect(text(consoles.history(ID, 'ttyS0'))).not.toContain('b')
    runtime.resume(ID)
    await until(() => text(consoles.history(ID, 'ttyS0')).includes('b'), 'the echo of b')
    await runtime.forceStop(ID)
    expect(runtime.status(ID).state).toBe('stopped')
  })

  it('reports a killed process and lets the machine be started again', async () => {
    await runtime.start(machine(guest('spin')))
    await until(() => runtime.figures(ID) !== null, 'a heartbeat')
    process.kill(runtime.status(ID).pid as number, 'SIGKILL')
    await stopped()
    expect(runtime.status(ID)).toMatchObject({ state: 'crashed', problem: { key: 'run.withReport', values: { what: { key: 'run.killed', values: { signal: 'SIGKILL' } } } } })
    await until(() => reports().length === 1, 'a report')
    expect(readFileSync(reports()[0], 'utf8')).toMatch(/killed by SIGKILL\n\nlast heartbeat: \d{4}-.*Z\nrip=0x[0-9a-f]+ rflags=/)
    const progress = { signal: new AbortController().signal, report: () => undefined }
    for (const saved of [runtime.saveTo(ID, '/nowhere', [], 'go-on', progress), runtime.saveAndHold(ID, '/nowhere', [], progress)]) {
      await expect(saved).rejects.toMatchObject({ code: 'machine-crashed' })
    }
    await runtime.start(machine(guest('hello')))
    await stopped()
    expect(runtime.status(ID).state).toBe('stopped')
  })

  it('ends a process that gives no sign of life', async () => {
    await runtime.start(machine(guest('spin')))
    await until(() => runtime.figures(ID) !== null, 'a heartbeat')
    process.kill(runtime.status(ID).pid as number, 'SIGSTOP')
    await stopped()
    expect(runtime.status(ID)).toMatchObject({ state: 'crashed', problem: { key: 'run.withReport', values: { what: { key: 'run.silent' } } } })
    await until(() => reports().length === 1, 'a report')
    expect(readFileSync(reports()[0], 'utf8')).toMatch(/no sign of life for \d+ s[^]*rip=0x[0-9a-f]+/)
  }, 40_000)

  it('does not take a computer that slept, or whose clock was set, for a process that hangs', async () => {
    await runtime.start(machine(guest('spin')))
    await until(() => runtime.figures(ID) !== null, 'a heartbeat')
    const pid = runtime.status(ID).pid as number
    const now = Date.now
    process.kill(pid, 'SIGSTOP')
    const clock = vi.spyOn(Date, 'now').mockImplementation(() => now() + 3_600_000)
    // Time for the watchdog to look, before the process says something again.
    await new Promise((resolve) => setTimeout(resolve, 2500))
    clock.mockRestore()
    process.kill(pid, 'SIGCONT')
    const before = runtime.figures(ID)
    await until(() => runtime.figures(ID) !== before, 'another heartbeat')
    expect(runtime.status(ID).state).toBe('running')
  })

  it('reports a guest that triple-faults, with a report file', async () => {
    await runtime.start(machine(guest('tripleFault')))
    await stopped()
    expect(inEnglish(runtime.status(ID).problem ?? '')).toMatch(/triple fault|the guest crashed/)
    expect(inEnglish(runtime.status(ID).problem ?? '')).toMatch(/Report: .*crash-.*\.txt/)
  })

  it('holds a flooding guest back and stays in command', async () => {
    await runtime.start(machine(guest('flood')))
    let seen = 0
    // A reader that acknowledges nothing: at most a window comes.
    const reader = consoles.attach(ID, 'ttyS0', (bytes) => (seen += bytes.length))
    await until(() => seen >= 256 * 1024, 'a full window')
    await new Promise((resolve) => setTimeout(resolve, 500))
    expect(seen).toBeLessThan(400 * 1024)
    runtime.pause(ID)
    await until(() => runtime.status(ID).state === 'paused', 'the pause')
    reader.detach()
    await runtime.forceStop(ID)
  })

  it.each([
    ['a file that is no kernel', () => 'not a kernel at all'.repeat(100), 'bad-kernel', /boot flag/],
    ['a file that is too short', () => 'x', 'bad-kernel', /too short/],
  ])('refuses %s', async (_what, content, code, message) => {
    const path = join(dir, 'bad')
    writeFileSync(path, content())
    await expect(runtime.start(machine(path))).rejects.toMatchObject({ code, message: expect.stringMatching(message) as string })
    await stopped()
    expect(runtime.status(ID).state).toBe('stopped')
  })

  it('refuses a truncated kernel, a missing kernel and a missing disk by name', async () => {
    const whole = buildTinyKernel(GUESTS.hello)
    const cut = join(dir, 'cut')
    writeFileSync(cut, whole.subarray(0, whole.length - 200))
    await expect(runtime.start(machine(cut))).rejects.toMatchObject({ code: 'bad-kernel', message: expect.stringContaining('cut off') as string })
    await stopped()
    await expect(runtime.start(machine(join(dir, 'absent')))).rejects.toMatchObject({ message: expect.stringContaining('absent') as string })
    await stopped()
    const disks = [{ path: join(dir, 'no.img'), format: 'raw' as const, readOnly: false }]
    await expect(runtime.start(machine(guest('hello'), { disks }))).rejects.toMatchObject({ code: 'bad-disk', message: expect.stringContaining('no.img') as string })
    await stopped()
  })

  it('refuses what does not fit the state', async () => {
    expect(() => runtime.pause(ID)).toThrow(/it is stopped/)
    await runtime.start(machine(guest('spin')))
    await expect(runtime.start(machine(guest('spin')))).rejects.toMatchObject({ code: 'wrong-state' })
  })
})
