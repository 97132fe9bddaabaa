/** The `nestbox` command as scripts use it: real processes, real guests, a library of its own. */
import { spawn, type ChildProcess } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { EscapeFilter } from '../../src/main/cli/console'
import { ExitCode } from '../../src/main/cli/exit-codes'
import { buildCli } from '../fixtures/build-cli'
import { GUESTS, buildTinyKernel } from '../fixtures/tiny-kernel'

interface Result { code: number | null; out: string; err: string }

let dir: string
let home: string
let cli: string
let counter = 0
const staying: ChildProcess[] = []

function start(args: readonly string[], library = home): ChildProcess {
  return spawn(process.execPath, [cli, ...args], { cwd: dir, env: { ...process.env, NESTBOX_HOME: library }, stdio: ['pipe', 'pipe', 'pipe'] })
}

function nestbox(args: readonly string[], input = '', library = home): Promise<Result> {
  const child = start(args, library)
  let out = ''
  let err = ''
  child.stdout?.on('data', (chunk: Buffer) => (out += chunk.toString()))
  child.stderr?.on('data', (chunk: Buffer) => (err += chunk.toString()))
  child.stdin?.on('error', () => undefined)
  child.stdin?.end(input)
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, out, err })))
}

/** For commands that must work. */
async function ok(...args: string[]): Promise<string> {
  const { code, out, err } = await nestbox(args)
  expect({ code, err }, args.join(' ')).toEqual({ code: 0, err: '' })
  return out
}

const json = async <T>(...args: string[]): Promise<T> => JSON.parse(await ok(...args, '--json')) as T

async function until(condition: () => Promise<boolean>, what: string): Promise<void> {
  const end = Date.now() + 30_000
  while (!await condition()) {
    if (Date.now() > end) throw new Error(`waited in vain for: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}

interface View { id: string; name: string; state: string; pid?: number; problem?: string; figures?: { instructions: number; interrupts: number } | null }
const info = (name: string): Promise<View> => json<View>('vm', 'info', name)

/** A machine with one of the tiny guests. @returns its name */
async function machine(guest: keyof typeof GUESTS, ...more: string[]): Promise<string> {
  const name = `${guest} ${++counter}`
  await ok('vm', 'create', name, '--memory', '32', '--kernel', `${guest}.bin`, '--tier', '0', '--on-reset', 'stop', ...more)
  return name
}

beforeAll(() => {
  cli = buildCli()
  dir = mkdtempSync(join(tmpdir(), 'nestbox-cli-'))
  home = join(dir, 'library')
  for (const name of Object.keys(GUESTS) as (keyof typeof GUESTS)[]) writeFileSync(join(dir, `${name}.bin`), buildTinyKernel(GUESTS[name]))
}, 60_000)

afterEach(() => {
  for (const child of staying.splice(0)) child.kill('SIGKILL')
})

afterAll(async () => {
  await nestbox(['manager', 'stop'])
  rmSync(dir, { recursive: true, force: true })
}, 60_000)

describe('nestbox run', () => {
  it('runs a guest to its power-off: what it said, exit code 0, figures', async () => {
    const result = await nestbox(['run', '--memory', '32', '--kernel', 'hello.bin', '--tier', '0', '--stats', 'stats.json'])
    expect(result).toMatchObject({ code: 0, out: expect.stringContaining('hello from the guest') as string })
    const stats = JSON.parse(readFileSync(join(dir, 'stats.json'), 'utf8')) as Record<string, unknown>
    expect(stats).toMatchObject({ stop: { kind: 'power-off' }, exits: expect.any(Object) as object, tierNs: { t0: expect.any(Number) as number } })
  })

  it('passes standard input to the serial port', async () => {
    const child = start(['run', '--memory', '32', '--kernel', 'echo.bin', '--tier', '0'])
    staying.push(child)
    let out = ''
    child.stdout?.on('data', (chunk: Buffer) => (out += chunk.toString()))
    child.stdin?.write('typed')
    await until(async () => out.includes('typed'), 'the echo')
  })

  it.each([
    ['a guest that triple-faults', ['--kernel', 'tripleFault.bin'], ExitCode.TRIPLE_FAULT, /the guest crashed/],
    ['no kernel', [], ExitCode.USAGE, /required option '--kernel/],
    ['a missing kernel', ['--kernel', 'absent.bin'], ExitCode.USAGE, /absent\.bin/],
    ['a file that is no kernel', ['--kernel', 'stats.json'], ExitCode.FAILED, /kernel|too short/],
    ['a missing disk', ['--kernel', 'hello.bin', '--disk', 'absent.img'], ExitCode.FAILED, /absent\.img/],
    ['an unknown disk flag', ['--kernel', 'hello.bin', '--disk', 'hello.bin,frozen'], ExitCode.USAGE, /'frozen' is not known/],
    ['a console that is none', ['--kernel', 'hello.bin', '--console', 'tty1'], ExitCode.USAGE, /must be one of ttyS0, hvc0/],
    ['a wrong tier', ['--kernel', 'hello.bin', '--tier', '9'], ExitCode.USAGE, /must be 0, 1 or 2/],
    ['a wrong amount of memory', ['--kernel', 'hello.bin', '--memory', 'much'], ExitCode.USAGE, /memory/],
  ])('answers %s with its own exit code', async (_what, args, code, message) => {
    const result = await nestbox(['run', ...args])
    expect(result.err).toMatch(message)
    expect(result.err).not.toMatch(/\n\s+at /)
    expect(result.code).toBe(code)
  })
})

describe('nestbox vm', () => {
  it('starts the manager in the background, once', async () => {
    const [a, b, c] = await Promise.all([json<View[]>('vm', 'list'), json<View[]>('vm', 'list'), json<View[]>('vm', 'list')])
    expect([a, b, c]).toEqual([[], [], []])
    const { running, pid } = await json<{ running: boolean; pid: number }>('manager', 'status')
    expect(running).toBe(true)
    expect(() => process.kill(pid, 0)).not.toThrow()
  })

  it('creates, starts, tells of, stops and lists a machine, by name or UUID', async () => {
    const name = await machine('echo', '--group', 'a/b', '--tag', 'x', '--tag', 'y')
    const { id } = await info(name)
    await ok('vm', 'start', name)
    await until(async () => ((await info(id)).figures?.instructions ?? 0) > 0, 'figures')
    expect(await info(id)).toMatchObject({ name, id, state: 'running', pid: expect.any(Number) as number, group: 'a/b', tags: ['x', 'y'] })
    expect(await nestbox(['vm', 'console', name], 'question')).toMatchObject({ code: 0, out: 'question' })
    expect(await ok('vm', 'console', name, '--log')).toBe('question')
    // A pipe is no terminal: the guest's question to one is none of its text.
    expect(await nestbox(['vm', 'console', name], '\u001b[6n!')).toMatchObject({ code: 0, out: 'question!' })
    await ok('vm', 'pause', name)
    expect((await info(name)).state).toBe('paused')
    await ok('vm', 'resume', name)
    expect(await nestbox(['vm', 'stop', name, '--timeout', '1'])).toMatchObject({ code: ExitCode.TIMEOUT, err: expect.stringContaining('--force') as string })
    await ok('vm', 'stop', name.toUpperCase(), '--force')
    expect(await ok('vm', 'list')).toMatch(new RegExp(`${name} +stopped`))
    expect(await nestbox(['vm', 'console', name], 'to nobody')).toMatchObject({ code: ExitCode.CONFLICT, err: expect.stringContaining('does not run') as string })
    // What was said is kept after the stop.
    expect(await ok('vm', 'console', name, '--log')).toBe('question!')
  })

  it('inspects a running machine: where its time goes, its hottest code, and the WebAssembly of it', async () => {
    const name = await machine('spin', '--tier', '2')
    expect(await nestbox(['vm', 'inspect', name])).toMatchObject({ code: ExitCode.CONFLICT, err: expect.stringContaining('stopped') as string })
    await ok('vm', 'start', name)
    interface Inspection { figures: { tierNs: Record<string, number> } | null; blocks: { address: string; tier: number; lines: { text: string }[] }[] }
    let seen: Inspection | undefined
    await until(async () => {
      const { code, out } = await nestbox(['vm', 'inspect', name, '--json'])
      seen = code === 0 ? JSON.parse(out) as Inspection : undefined
      // Figures come with the heartbeat, a little later than the blocks that are asked for.
      return (seen?.blocks.at(0)?.tier ?? 0) > 0 && (seen?.figures?.tierNs.t2 ?? 0) > 0
    }, 'samples of translated code, and figures of them')
    expect(seen?.blocks[0]).toMatchObject({ address: '0x100200', lines: [{ text: 'jmp 0x100200' }] })
    expect(Object.keys(seen?.figures?.tierNs ?? {})).toContain('t2')
    const text = await ok('vm', 'inspect', name, '--count', '1')
    expect(text).toMatch(/time by tier +t\d/)
    expect(text).toMatch(/time by ring +ring0 100 %\n[^]*time by mode +long-64 \d+ %/)
    for (const field of ['exits', 'TLB misses', 'code invalidated']) expect(text).toMatch(new RegExp(`^ *${field} +\\S`, 'm'))
    expect(text).toMatch(/translations +[1-9]\d* blocks, \d+ regions in \d+ modules/)
    expect(text).toMatch(/^0x100200 {2}long-64, ring 0, tier [12], 100 % \(\d+ samples\)\n {2}0000000000100200 {2}[0-9a-f ]+jmp 0x100200$/m)
    expect(await ok('vm', 'inspect', name, '--wasm', '0x100200')).toMatch(/^;; (block|region) of the page's bytes 0x200[^]*local\.get 0/)
    expect(await nestbox(['vm', 'inspect', name, '--wasm', '0xdead'])).toMatchObject({ code: ExitCode.NOT_FOUND, err: expect.stringContaining('no hot block at 0xdead') as string })
    expect(await nestbox(['vm', 'inspect', name, '--wasm', 'zebra'])).toMatchObject({ code: ExitCode.USAGE })
    expect(await nestbox(['vm', 'inspect', name, '--count', '0'])).toMatchObject({ code: ExitCode.USAGE })
    await ok('vm', 'stop', name, '--force')
  })

  it('changes settings and names; refuses what cannot be', async () => {
    const name = await machine('hello')
    const other = await machine('hello')
    expect(await json('vm', 'set', name, '--memory', '64', '--notes', 'n')).toMatchObject({ memoryMiB: 64, notes: 'n' })
    expect(await nestbox(['vm', 'set', name, '--name', other.toUpperCase()])).toMatchObject({ code: ExitCode.CONFLICT, err: expect.stringContaining(other) as string })
    expect(await nestbox(['vm', 'set', name, '--memory', '1'])).toMatchObject({ code: ExitCode.USAGE })
    expect(await nestbox(['vm', 'set', name])).toMatchObject({ code: ExitCode.USAGE })
    expect(await nestbox(['vm', 'set', name, '--kernel', 'absent'])).toMatchObject({ code: ExitCode.NOT_FOUND, err: expect.stringContaining('absent') as string })
    expect(await nestbox(['vm', 'create', other, '--kernel', 'hello.bin'])).toMatchObject({ code: ExitCode.CONFLICT })
    expect(await nestbox(['vm', 'create', '-x', '--kernel', 'hello.bin'])).toMatchObject({ code: ExitCode.USAGE })
    expect(await nestbox(['vm', 'create', 'a\u001b[2J', '--kernel', 'hello.bin'])).toMatchObject({ code: ExitCode.USAGE })
    expect(await nestbox(['vm', 'create', 'imageless', '--image', 'no-such'])).toMatchObject({ code: ExitCode.NOT_FOUND })
  })

  it('tells of the images machines can be made from, and of those that cannot be had', async () => {
    const images = await json<{ id: string; ready: boolean; unavailable?: unknown }[]>('image', 'list')
    expect(images.map(({ id }) => id)).toEqual(expect.arrayContaining(['starter', 'debian-12-cloud', 'alpine-virt', 'freedos']))
    const [head, ...lines] = (await ok('image', 'list')).trim().split('\n')
    expect(head).toMatch(/^ID +NAME +STATE +BYTES$/)
    expect(lines.map((line) => line.split(' ')[0])).toEqual(images.map(({ id }) => id))
    expect(lines.find((line) => line.startsWith('freedos'))).toMatch(/needs a BIOS/)
    expect(await nestbox(['image', 'prepare', 'no-such', '--json'])).toMatchObject({ code: ExitCode.NOT_FOUND, err: expect.stringContaining('"not-found"') as string })
  })

  it('deletes to the trash, restores, purges', async () => {
    const name = await machine('hello')
    await ok('vm', 'delete', name)
    expect(await nestbox(['vm', 'info', name])).toMatchObject({ code: ExitCode.NOT_FOUND })
    await ok('vm', 'create', name, '--kernel', 'hello.bin')
    const restored = await json<View>('vm', 'restore', name)
    expect(restored.name).toBe(`${name} 2`)
    await ok('vm', 'delete', restored.id)
    await ok('vm', 'purge', restored.id)
    expect((await json<View[]>('vm', 'trash')).map(({ id }) => id)).not.toContain(restored.id)
  })

  it('errors are JSON where asked, with a code of the contract', async () => {
    const { code, err, out } = await nestbox(['vm', 'start', 'nobody', '--json'])
    expect({ code, out }).toEqual({ code: ExitCode.NOT_FOUND, out: '' })
    expect(JSON.parse(err)).toMatchObject({ error: { code: 'not-found', message: expect.stringContaining('nobody') as string } })
    expect(await nestbox(['vm', 'no-such-verb'])).toMatchObject({ code: ExitCode.USAGE })
  })

  it.each([
    ['an unknown verb', ['vm', 'no-such-verb'], /unknown command 'no-such-verb'/],
    ['no verb', [], /a command is needed/],
    ['a missing argument', ['vm', 'start'], /missing required argument 'name'/],
    ['an unknown option', ['vm', 'list', '--jsn'], /unknown option '--jsn'/],
    ['a machine of nothing', ['vm', 'create', 'a'], /--kernel FILE, --image ID .* or --template NAME/],
  ])('wrong use is told in JSON too, and points to the help otherwise: %s', async (_what, args, message) => {
    const { code, err, out } = await nestbox([...args, '--json'])
    expect({ code, out }).toEqual({ code: ExitCode.USAGE, out: '' })
    const { error } = JSON.parse(err) as { error: { code: string; message: string } }
    expect(error).toMatchObject({ code: 'invalid-argument', message: expect.stringMatching(message) as string })
    const plain = await nestbox(args)
    expect(plain).toMatchObject({ code: ExitCode.USAGE, out: '' })
    if (args.length > 0) expect(plain.err).toMatch(/^nestbox: /)
    expect(plain.err).toMatch(/--help|--image|Usage: nestbox/)
  })

  it('tells of a killed machine process, a triple fault, a kernel cut short and a vanished disk; all others live on', async () => {
    const witness = await machine('spin')
    await ok('vm', 'start', witness)

    const killed = await machine('spin')
    await ok('vm', 'start', killed)
    process.kill((await info(killed)).pid as number, 'SIGKILL')
    await until(async () => (await info(killed)).state === 'crashed', 'the crash')
    expect((await info(killed)).problem).toContain('SIGKILL')
    await ok('vm', 'start', killed)
    await ok('vm', 'stop', killed, '--force')

    const faulty = await machine('tripleFault')
    await nestbox(['vm', 'start', faulty])
    await until(async () => (await info(faulty)).state === 'crashed', 'the triple fault')
    expect((await info(faulty)).problem).toMatch(/Report: .*crash-/)
    expect(await ok('vm', 'log', faulty)).toContain('the guest crashed')

    const cut = join(dir, 'cut.bin')
    writeFileSync(cut, readFileSync(join(dir, 'hello.bin')))
    await ok('vm', 'create', 'cut', '--memory', '32', '--kernel', 'cut.bin')
    truncateSync(cut, 1100)
    expect(await nestbox(['vm', 'start', 'cut', '--json'])).toMatchObject({ code: ExitCode.FAILED, err: expect.stringContaining('"bad-kernel"') as string })

    const disk = join(dir, 'disk.img')
    writeFileSync(disk, Buffer.alloc(1 << 20))
    const diskless = await machine('hello', '--disk', 'disk.img,readonly')
    rmSync(disk)
    expect(await nestbox(['vm', 'start', diskless])).toMatchObject({ err: expect.stringContaining('disk.img') as string })

    expect((await info(witness)).state).toBe('running')
    await ok('vm', 'stop', witness, '--force')
  }, 120_000)

  it('stays in command of a guest that floods its console; the log stays bounded', async () => {
    const name = await machine('flood')
    await ok('vm', 'start', name)
    await until(async () => (await ok('vm', 'console', name, '--log')).length > 3 << 20, '3 MiB of flood')
    const begun = Date.now()
    await ok('vm', 'pause', name)
    expect(Date.now() - begun).toBeLessThan(5000)
    await ok('vm', 'stop', name, '--force')
    const { id } = await info(name)
    const logs = join(home, 'machines', id, 'logs')
    const bytes = readdirSync(logs).reduce((sum, file) => sum + readFileSync(join(logs, file)).length, 0)
    expect(bytes).toBeLessThan(5 << 20)
  })

  it('keeps a damaged machine.json aside and the rest of the library', async () => {
    const name = await machine('hello')
    const { id } = await info(name)
    await ok('manager', 'stop')
    const folder = join(home, 'machines', id)
    writeFileSync(join(folder, 'machine.json'), '{"version": 1, "half')
    expect(await info(id)).toMatchObject({ state: 'damaged' })
    expect(await nestbox(['vm', 'start', id])).toMatchObject({ code: ExitCode.FAILED, err: expect.stringContaining('damaged') as string })
    const aside = readdirSync(folder).find((file) => file.startsWith('machine.json.damaged-')) as string
    expect(readFileSync(join(folder, aside), 'utf8')).toBe('{"version": 1, "half')
    expect((await json<View[]>('vm', 'list')).length).toBeGreaterThan(1)
  })

  it('says what is wrong with a library that cannot be', async () => {
    const result = await nestbox(['vm', 'list'], '', join(dir, 'hello.bin', 'library'))
    expect(result.code).toBe(ExitCode.FAILED)
    expect(result.err).toMatch(/a file is where a folder should be/)
  })
})

describe('nestbox serve', () => {
  async function serve(library: string, ...more: string[]): Promise<{ child: ChildProcess; url: string; joined: boolean }> {
    const child = start(['serve', '--json', ...more], library)
    staying.push(child)
    let out = ''
    child.stdout?.on('data', (chunk: Buffer) => (out += chunk.toString()))
    child.stderr?.on('data', (chunk: Buffer) => (out += chunk.toString()))
    await until(async () => out.includes('}'), `the address; ${out}`)
    return { child, ...(JSON.parse(out) as { url: string; joined: boolean }) }
  }

  it('prints an address with a token, serves the page, is the manager for others, and ends in order', async () => {
    const library = join(dir, 'served')
    const { child, url, joined } = await serve(library, '--token', 'sixteen-letters-')
    expect(joined).toBe(false)
    expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/#token=sixteen-letters-$/)
    expect(await (await fetch(url)).text()).toBe('<p>page</p>')
    expect(await nestbox(['vm', 'list', '--json'], '', library)).toMatchObject({ code: 0, out: '[]\n' })
    const second = await serve(library)
    expect(second.joined).toBe(true)
    const ended = new Promise((resolve) => child.on('exit', resolve))
    child.kill('SIGTERM')
    expect(await ended).toBe(0)
    expect(existsSync(join(library, 'manager.json'))).toBe(false)
    // Who had joined ends too, and says so.
    await until(async () => second.child.exitCode !== null, 'the end of the second')
    expect(second.child.exitCode).toBe(ExitCode.UNREACHABLE)
  })

  it.each([[['--port', 'x']], [['--port', '70000']], [['--token', 'short']]])('refuses %j', async (args) => {
    expect(await nestbox(['serve', ...args])).toMatchObject({ code: ExitCode.USAGE })
  })
})

describe('Ctrl-A', () => {
  const filter = (text: string): { sent: string; quit: number } => {
    let quit = 0
    const escape = new EscapeFilter(() => quit++)
    const sent = [...Buffer.from(text)].map((byte) => Buffer.from(escape.push(Uint8Array.of(byte))).toString()).join('')
    return { sent, quit }
  }

  it('then X leaves, then Ctrl-A sends one', () => {
    expect(filter('ab\u0001xc')).toEqual({ sent: 'abc', quit: 1 })
    expect(filter('\u0001\u0001b')).toEqual({ sent: '\u0001b', quit: 0 })
    expect(filter('\u0001q')).toEqual({ sent: 'q', quit: 0 })
  })
})
