/** `nestbox disk` as scripts use it: real processes, images held against qemu-img. */
import { execFileSync } from 'node:child_process'
import { copyFileSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ExitCode } from '../../src/main/cli/exit-codes'
import { during, HOST_FAULTS } from '../fixtures/host-faults'
import { checkSound } from '../fixtures/qemu-img'
import { CliFolder, type CliResult } from '../fixtures/run-cli'

const MIB = 1 << 20
const folder = new CliFolder('cli-disk')
const { dir } = folder
const at = (name: string): string => join(dir, name)
const qemuImg = (...args: string[]): string => execFileSync('qemu-img', args, { cwd: dir, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
const nestbox = (args: readonly string[]): Promise<CliResult> => folder.run('disk', ...args)

async function ok(...args: string[]): Promise<string> {
  const { code, out, err } = await nestbox(args)
  expect({ code, err }, args.join(' ')).toEqual({ code: 0, err: '' })
  return out
}
const json = async (...args: string[]): Promise<Record<string, unknown>> => JSON.parse(await ok(...args, '--json')) as Record<string, unknown>

async function refused(code: number, errorCode: string, ...args: string[]): Promise<string> {
  const result = await nestbox([...args, '--json'])
  expect(result.code, args.join(' ')).toBe(code)
  const { error } = JSON.parse(result.err) as { error: { code: string; message: string } }
  expect(error.code).toBe(errorCode)
  return error.message
}

beforeAll(() => {
  const bytes = Buffer.alloc(6 * MIB)
  for (let i = 0; i < MIB; i++) bytes[3 * MIB + i] = (i * 31 + (i >> 8)) & 255
  writeFileSync(at('source.img'), bytes)
}, 60_000)
afterAll(() => folder.end())

describe('create', () => {
  it('makes empty disks of every format', async () => {
    for (const [format, name] of [['raw', 'raw'], ['qcow2', 'qcow2'], ['vdi', 'vdi'], ['vmdk', 'vmdk'], ['vhd', 'vpc'], ['vhdx', 'vhdx']]) {
      const made = await json('create', `new.${format}`, '--size', '8M')
      expect(made).toMatchObject({ path: at(`new.${format}`), format, sizeBytes: 8 * MIB })
      // VHDX has a log of 1 MiB.
      expect(statSync(at(`new.${format}`)).blocks * 512).toBeLessThan(2 * MIB)
      if (format !== 'raw') qemuImg('compare', '-f', 'raw', '-F', name, 'new.raw', `new.${format}`)
    }
    expect(await json('create', 'fine', '--size', '1G', '--cluster-size', '4K')).toMatchObject({ format: 'qcow2', qcow2: { clusterBytes: 4096 } })
    qemuImg('check', '-f', 'qcow2', 'fine')
    expect(statSync(at('fine')).size).toBeLessThan(MIB)
  })

  it('lays one over another, with its format recorded', async () => {
    expect(await json('create', 'over.qcow2', '--backing', 'source.img')).toMatchObject({ sizeBytes: 6 * MIB, qcow2: { backing: { name: 'source.img', path: at('source.img'), format: 'raw' } } })
    qemuImg('compare', '-f', 'raw', '-F', 'qcow2', 'source.img', 'over.qcow2')
    expect(JSON.parse(qemuImg('info', '--output=json', 'over.qcow2'))).toMatchObject({ 'backing-filename': 'source.img', 'backing-filename-format': 'raw' })
    const out = await ok('info', 'over.qcow2')
    expect(out).toMatch(/over\.qcow2 +qcow2 +6 MiB/)
    expect(out).toMatch(/source\.img +raw +6 MiB/)
  })

  it('replaces nothing unasked', async () => {
    writeFileSync(at('mine.qcow2'), 'precious')
    expect(await refused(ExitCode.CONFLICT, 'name-taken', 'create', 'mine.qcow2', '--size', '1M')).toContain('mine.qcow2 is there already')
    expect(readFileSync(at('mine.qcow2'), 'utf8')).toBe('precious')
    await ok('create', 'mine.qcow2', '--size', '1M', '--force')
    qemuImg('check', '-f', 'qcow2', 'mine.qcow2')
  })

  it('names the file that would be too large for the file system', async () => {
    const { code, err } = await folder.start(['disk', 'create', 'huge.img', '--size', '1T', '--json'], ['prlimit', '--fsize=1073741824:unlimited']).result
    expect(code).toBe(ExitCode.FAILED)
    expect(JSON.parse(err)).toMatchObject({ error: { code: 'disk-full', message: `${at('huge.img')} cannot be written: the file would be too large` } })
    expect(readdirSync(dir).filter((name) => name.startsWith('huge'))).toEqual([])
  })

  it('says what cannot be', async () => {
    await refused(ExitCode.USAGE, 'invalid-argument', 'create', 'x.qcow2')
    await refused(ExitCode.USAGE, 'invalid-argument', 'create', 'x.qcow2', '--size', 'huge')
    await refused(ExitCode.USAGE, 'invalid-argument', 'create', 'x.qcow2', '--size', '1G', '--cluster-size', '3K')
    await refused(ExitCode.USAGE, 'invalid-argument', 'create', 'x.vdi', '--size', '1G', '--backing', 'source.img')
    await refused(ExitCode.USAGE, 'invalid-argument', 'create', 'x.qcow2', '--size', '1000000T')
    expect(await refused(ExitCode.NOT_FOUND, 'file-missing', 'create', 'x.qcow2', '--backing', 'nowhere.img')).toContain('nowhere.img')
    expect(readdirSync(dir).filter((name) => name.startsWith('x.'))).toEqual([])
  })
})

describe('convert', () => {
  it('there and back through every format', async () => {
    for (const [format, name] of [['qcow2', 'qcow2'], ['vdi', 'vdi'], ['vmdk', 'vmdk'], ['vhd', 'vpc'], ['vhdx', 'vhdx']]) {
      expect(await json('convert', 'source.img', `there.${format}`)).toMatchObject({ format, sizeBytes: 6 * MIB })
      qemuImg('compare', '-f', 'raw', '-F', name, 'source.img', `there.${format}`)
      await ok('convert', `there.${format}`, 'back.raw', '--force')
      qemuImg('compare', '-f', 'raw', '-F', 'raw', 'source.img', 'back.raw')
    }
    qemuImg('check', '-f', 'qcow2', 'there.qcow2')
    expect(statSync(at('back.raw')).blocks * 512).toBeLessThan(2 * MIB)
  })

  it('puts a chain into one file', async () => {
    qemuImg('create', '-f', 'qcow2', '-b', 'source.img', '-F', 'raw', 'low.qcow2')
    execFileSync('qemu-io', ['-f', 'qcow2', '-c', 'write -P 9 1M 70k', at('low.qcow2')])
    qemuImg('create', '-f', 'qcow2', '-b', 'low.qcow2', '-F', 'qcow2', 'high.qcow2')
    await ok('convert', 'high.qcow2', 'flat.qcow2')
    qemuImg('compare', '-f', 'qcow2', '-F', 'qcow2', 'high.qcow2', 'flat.qcow2')
    expect((await json('info', 'flat.qcow2')).chain).toEqual([])
    expect((await json('info', 'high.qcow2')).chain).toHaveLength(2)
  })

  it('leaves nothing behind when it is cancelled or fails', async () => {
    // Data, not holes: it takes its time.
    writeFileSync(at('back.raw'), Buffer.alloc(512 * MIB, 'data'))
    const before = readdirSync(dir)
    const { result, kill } = folder.start(['disk', 'convert', 'back.raw', 'cancelled.qcow2'])
    const timer = setInterval(() => {
      if (!readdirSync(dir).some((name) => name.startsWith('cancelled.qcow2.'))) return
      clearInterval(timer)
      kill('SIGINT')
    }, 20)
    expect((await result).code).toBe(ExitCode.QUIT)
    writeFileSync(at('broken.qcow2'), readFileSync(at('there.qcow2')).subarray(0, 70_000))
    expect(await refused(ExitCode.FAILED, 'bad-disk', 'convert', 'broken.qcow2', 'never.raw')).toContain(at('broken.qcow2'))
    expect(readdirSync(dir).filter((name) => !before.includes(name))).toEqual(['broken.qcow2'])
  })
})

describe('info, check, resize, rebase', () => {
  it('tell of a broken chain', async () => {
    qemuImg('create', '-f', 'qcow2', '-u', '-b', 'gone.qcow2', '-F', 'qcow2', 'orphan.qcow2', '1M')
    expect(String((await json('info', 'orphan.qcow2')).problem)).toContain(at('gone.qcow2'))
    expect(await refused(ExitCode.NOT_FOUND, 'file-missing', 'convert', 'orphan.qcow2', 'o.raw')).toContain('gone.qcow2')
    await refused(ExitCode.NOT_FOUND, 'file-missing', 'info', 'not-there.qcow2')
  })

  it('check tells sound images from damaged ones', async () => {
    expect(await ok('check', 'there.qcow2')).toBe('No errors.\n')
    const bytes = readFileSync(at('there.qcow2'))
    const block = Number(bytes.readBigUInt64BE(Number(bytes.readBigUInt64BE(48))))
    bytes.writeUInt16BE(0, block + 2 * 3)
    writeFileSync(at('damaged.qcow2'), bytes)
    const { code, out } = await nestbox(['check', 'damaged.qcow2'])
    expect(code).toBe(ExitCode.FAILED)
    expect(out).toMatch(/refcount is 0\n[\s\S]*errors: data is damaged/)
    await refused(ExitCode.FAILED, 'unsupported', 'check', 'source.img')
  })

  it('resize grows, and shrinks only when told to', async () => {
    for (const name of ['there.qcow2', 'source.img']) {
      const copy = name.replace('.', '-copy.')
      await ok('convert', name, copy)
      expect(await json('resize', copy, '+10M')).toMatchObject({ sizeBytes: 16 * MIB })
      expect(await refused(ExitCode.USAGE, 'invalid-argument', 'resize', copy, '6M')).toContain('--shrink')
      expect(await json('resize', copy, '6M', '--shrink')).toMatchObject({ sizeBytes: 6 * MIB })
      qemuImg('compare', 'source.img', copy)
    }
    qemuImg('check', '-f', 'qcow2', 'there-copy.qcow2')
    await refused(ExitCode.FAILED, 'unsupported', 'resize', 'there.vdi', '20M')
  })

  describe('a smaller disk', () => {
    const NEW = 6 * MIB
    const OLD = 64 * MIB
    /** What the guest sees of the disk as it was. */
    let wide: Buffer
    /** What is past the new size, too: it takes some writes to be cut off. */
    beforeAll(async () => {
      await ok('convert', 'source.img', 'wide.qcow2', '--cluster-size', '4K')
      await ok('resize', 'wide.qcow2', String(OLD))
      execFileSync('qemu-io', ['-f', 'qcow2', '-c', 'write -P 5 7M 6M', at('wide.qcow2')], { stdio: 'ignore' })
      await ok('convert', 'wide.qcow2', 'wide.raw')
      wide = readFileSync(at('wide.raw'))
    })

    /** Sound, of one of the sizes, and with all that was in a disk of that size. */
    async function expectWhole(name: string, sizes: readonly number[]): Promise<void> {
      checkSound(at(name), true)
      expect(sizes).toContain((await json('info', name)).sizeBytes)
      await ok('convert', name, 'seen.raw', '--from', 'qcow2', '--force')
      const seen = readFileSync(at('seen.raw'))
      expect(seen.equals(wide.subarray(0, seen.length))).toBe(true)
    }

    it('has the old or the new size where the command is killed, and can be made smaller then', async () => {
      const started = performance.now()
      copyFileSync(at('wide.qcow2'), at('killed.qcow2'))
      await ok('resize', 'killed.qcow2', '6M', '--shrink')
      const ms = performance.now() - started
      for (let round = 1; round <= 3; round++) {
        copyFileSync(at('wide.qcow2'), at('killed.qcow2'))
        const { result, kill } = folder.start(['disk', 'resize', 'killed.qcow2', '6M', '--shrink'])
        setTimeout(() => kill('SIGKILL'), (ms * (round + 3)) / 8)
        await result
        await expectWhole('killed.qcow2', [OLD, NEW])
      }
      await ok('resize', 'killed.qcow2', '6M', '--shrink')
      await expectWhole('killed.qcow2', [NEW])
    }, 60_000)

    it.each(Object.values(HOST_FAULTS))('is as it was, or is made, where $code is in the way', async (fault) => {
      const small = at('small')
      mkdirSync(small, { recursive: true })
      copyFileSync(at('wide.qcow2'), join(small, 'wide.qcow2'))
      await during(fault, small, async () => {
        const { code, err } = await nestbox(['resize', 'small/wide.qcow2', '6M', '--shrink', '--json'])
        // A full disk needs no stopping: what is there is written over. Whoever may write everywhere writes where he may not.
        const mayBeDone = fault.code === 'disk-full' || process.getuid?.() !== 0
        if (code === 0) expect(mayBeDone).toBe(true)
        else expect((JSON.parse(err) as { error: { code: string } }).error.code).toBe(fault.code)
        await expectWhole('small/wide.qcow2', code === 0 ? [NEW] : [OLD])
      }, undefined, async () => {
        await ok('resize', 'small/wide.qcow2', '6M', '--shrink')
        await expectWhole('small/wide.qcow2', [NEW])
      })
    })

    it('is refused where the image is damaged', async () => {
      writeFileSync(at('torn.qcow2'), readFileSync(at('wide.qcow2')).subarray(0, 20_000))
      const before = readFileSync(at('torn.qcow2'))
      expect(await refused(ExitCode.FAILED, 'bad-disk', 'resize', 'torn.qcow2', '6M', '--shrink')).toContain('torn.qcow2')
      expect(readFileSync(at('torn.qcow2')).equals(before)).toBe(true)
    })
  })

  it('rebase accepts a base that was changed', async () => {
    await ok('create', 'child.qcow2', '--backing', 'there-copy.qcow2')
    await ok('resize', 'there-copy.qcow2', '7M')
    expect((await nestbox(['convert', 'child.qcow2', 'child.raw'])).err).toContain('was changed since')
    await ok('rebase', 'child.qcow2')
    await ok('convert', 'child.qcow2', 'child.raw')
    qemuImg('check', '-f', 'qcow2', 'child.qcow2')
  })
})

describe('compact, and repair', () => {
  it('compact gives back what is not needed, from raw and qcow2 disks', async () => {
    await ok('convert', 'source.img', 'loose.qcow2')
    execFileSync('qemu-io', ['-f', 'qcow2', '-c', 'write -P 1 0 2M', '-c', 'discard 0 2M', at('loose.qcow2')], { stdio: 'ignore' })
    const done = await json('compact', 'loose.qcow2')
    expect(done).toMatchObject({ path: at('loose.qcow2'), format: 'qcow2', after: statSync(at('loose.qcow2')).blocks * 512 })
    expect(done.after).toBeLessThan(Number(done.before))
    qemuImg('check', '-f', 'qcow2', 'loose.qcow2')
    expect(qemuImg('compare', '-f', 'raw', '-F', 'qcow2', 'source.img', 'loose.qcow2')).toContain('identical')
    writeFileSync(at('loose.raw'), Buffer.alloc(4 * MIB))
    expect(await ok('compact', 'loose.raw', '--format', 'raw')).toMatch(/^loose\.raw takes .* on the host now, .* less than before\.\n$/)
    expect(statSync(at('loose.raw'))).toMatchObject({ size: 4 * MIB, blocks: 0 })
    expect(await refused(ExitCode.FAILED, 'unsupported', 'compact', 'there.vdi')).toContain('cannot be compacted')
    await refused(ExitCode.NOT_FOUND, 'file-missing', 'compact', 'not-there.qcow2')
  })

  it('check --repair puts counts right, and refuses what it would make worse', async () => {
    const bytes = readFileSync(at('there.qcow2'))
    const block = Number(bytes.readBigUInt64BE(Number(bytes.readBigUInt64BE(48))))
    bytes.writeUInt16BE(0, block + 2 * 3)
    bytes.writeUInt16BE(1, block + 2 * 1000)
    writeFileSync(at('wrong.qcow2'), bytes)
    expect((await nestbox(['check', 'wrong.qcow2'])).code).toBe(ExitCode.FAILED)
    expect(await ok('check', 'wrong.qcow2', '--repair')).toBe('No errors.\n')
    expect(qemuImg('check', '-f', 'qcow2', 'wrong.qcow2')).toMatch(/No errors/)
    // An L2 table where the refcount table is.
    bytes.writeBigUInt64BE(bytes.readBigUInt64BE(48) | (1n << 63n), Number(bytes.readBigUInt64BE(40)))
    writeFileSync(at('wrong.qcow2'), bytes)
    expect(await refused(ExitCode.FAILED, 'bad-disk', 'check', 'wrong.qcow2', '--repair')).toMatch(/wrong\.qcow2: .* at byte \d+/)
    expect(readFileSync(at('wrong.qcow2')).equals(bytes)).toBe(true)
  })
})
