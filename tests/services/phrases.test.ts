/** What the manager says can be said in every language: each sentence has its key, and the core's are told apart. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'
import { describe, expect, it } from 'vitest'
import { inEnglish, isPhraseKey, logLine, PHRASE_KEYS, phrase, phraseSchema, phraseText, wireError, type Said } from '../../src/preload/contract'
import { DiskFormatError } from '../../src/main/host/disks/formats/common/format-error'
import { coreSaid, hostSaid, logSaid } from '../../src/main/services/core-said'
import { ServiceError, toWireError, whyOf, writeError } from '../../src/main/services/errors'
import { logLineOf } from '../../src/main/services/machine-log'
import { parseSetupHeader } from '../../src/main/vmm/boot/linux'
import { VmmError } from '../../src/main/vmm/errors'
import { Oddities, ODDITY_NAMES } from '../../src/main/vmm/irq/oddities'

const SRC = join(import.meta.dirname, '../../src/main')

function sources(...folders: string[]): { path: string; text: string }[] {
  return folders.flatMap((folder) => readdirSync(join(SRC, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts') && !name.endsWith('.test.ts'))
    .map((name) => ({ path: join(folder, name), text: readFileSync(join(SRC, folder, name), 'utf8') })))
}

/** Second arguments of `new ServiceError` that are words instead of a phrase. */
function wordsIn({ path, text }: { path: string; text: string }): string[] {
  const file = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true)
  const found: string[] = []
  const visit = (node: ts.Node): void => {
    if (ts.isNewExpression(node) && node.expression.getText() === 'ServiceError') {
      const said = node.arguments?.[1]
      if (said && (ts.isStringLiteralLike(said) || ts.isTemplateExpression(said))) found.push(`${path}: ${said.getText()}`)
    }
    ts.forEachChild(node, visit)
  }
  visit(file)
  return found
}

/** Words of a literal, its values as `{}`. */
function wordsOf(node: ts.Node): string | undefined {
  if (ts.isStringLiteralLike(node)) return node.text
  if (ts.isTemplateExpression(node)) return [node.head.text, ...node.templateSpans.map(({ literal }) => literal.text)].join('{}')
  return undefined
}

/** Every `reason: 'x'` of a call, and the words before it: what is written into logs, and what is said of it. */
function reasonsIn({ path, text }: { path: string; text: string }): { reason: string; words: string }[] {
  const found: { reason: string; words: string }[] = []
  const visit = (node: ts.Node): void => {
    if (ts.isCallExpression(node)) {
      const details = node.arguments.find((argument) => ts.isObjectLiteralExpression(argument))
      const reason = details?.properties.find((property) => ts.isPropertyAssignment(property) && property.name.getText() === 'reason')
      const words = node.arguments.map(wordsOf).findLast((one) => one !== undefined)
      if (reason && ts.isPropertyAssignment(reason) && ts.isStringLiteral(reason.initializer) && words !== undefined) found.push({ reason: reason.initializer.text, words })
    }
    ts.forEachChild(node, visit)
  }
  visit(ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true))
  return found
}

function thrownBy(work: () => unknown): VmmError {
  try {
    work()
  } catch (error) {
    if (error instanceof VmmError) return error
  }
  throw new Error('nothing was refused')
}

/** A setup header that is right but for what `change` does. */
function kernel(change: (view: DataView) => void): Uint8Array {
  const view = new DataView(new ArrayBuffer(0x2000))
  view.setUint16(0x1fe, 0xaa55, true)
  view.setUint32(0x202, 0x53726448, true)
  view.setUint16(0x206, 0x20f, true)
  view.setUint8(0x211, 1)
  view.setUint8(0x1f1, 1)
  change(view)
  return new Uint8Array(view.buffer)
}

describe('phrases', () => {
  it('are what every error of the services is said in', () => {
    expect(sources('services', 'ipc').flatMap(wordsIn)).toEqual([])
  })

  it('are all used', () => {
    const all = sources('services', 'ipc', 'engines', 'host', 'vm-host', 'vmm', 'cli').map(({ text }) => text).join('\n')
    const unused = PHRASE_KEYS.filter((key) => {
      const [family, name] = key.split('.')
      // Keys of these are put together: from a state, a setting, an error of the system, a message of the core.
      // One half of the log's lines is the manager's own.
      if (family === 'core' || (family === 'log' && all.includes(`'${name}'`))) return !all.includes(`'${name}'`)
      return !['state', 'taskState', 'setting', 'system'].includes(family) && !all.includes(`'${key}'`) && !(family === 'file' && all.includes('`file.${'))
    })
    expect(unused).toEqual([])
  })

  it.each([
    [new Uint8Array(100), 'kernelTooShort'],
    [kernel((view) => view.setUint16(0x1fe, 0, true)), 'kernelNotLinux'],
    [kernel((view) => view.setUint32(0x202, 0, true)), 'kernelNotLinux'],
    [kernel((view) => view.setUint16(0x206, 0x205, true)), 'kernelOld'],
    [kernel((view) => view.setUint8(0x211, 0)), 'kernelLow'],
    [kernel((view) => view.setUint8(0x1f1, 200)), 'kernelNoCode'],
    [kernel((view) => view.setUint32(0x1f4, 0x10000, true)), 'kernelCutOff'],
  ])('of the core say what it said itself', (image, name) => {
    const { message, details } = thrownBy(() => parseSetupHeader(image))
    const said = coreSaid(message, details)
    expect(said).toMatchObject({ key: `core.${name}` })
    expect(inEnglish(said)).toBe(message)
  })

  it('of the host about an image say what it said itself', () => {
    const error = new DiskFormatError('/a/b.vdi', 'VDI header', 64, 'its magic number is missing')
    expect(hostSaid(error)).toMatchObject({ key: 'core.diskFormat' })
    expect(inEnglish(hostSaid(error))).toBe(error.message)
  })

  it('of machines’ logs say in English what their writers wrote', () => {
    const written = sources('vm-host', 'vmm').flatMap(reasonsIn).filter(({ reason }) => !isPhraseKey(`core.${reason}`))
    expect(written.length).toBeGreaterThan(12)
    const wrong = written.filter(({ reason, words }) => {
      const key: string = `log.${reason}`
      return !isPhraseKey(key) || phraseText(key).replace(/\{\w+\}/g, '{}') !== words
    })
    expect(wrong).toEqual([])
  })

  it('of what is odd at the local APIC are told once each', () => {
    const said: Said[] = []
    const oddities = new Oddities({ log: (_level, part, text, details) => void said.push(logSaid(text, details, part)) })
    for (const oddity of ODDITY_NAMES) for (let i = 0; i < 2; i++) oddities.note(oddity)
    expect(said).toHaveLength(ODDITY_NAMES.length)
    for (const one of said) expect(one).toMatchObject({ key: 'log.ofPart', values: { part: 'apic', what: { key: expect.stringMatching(/^log\./) as string } } })
  })

  it('keep what a disk said of a request that failed', () => {
    const cause = { reason: 'diskQuota', path: '/a', offset: 512 }
    const line = logLineOf('error', logSaid('request failed: x', { reason: 'requestFailed', detail: 'x', cause }, 'disk0'))
    expect(line).toMatchObject({ level: 'error', text: "disk0: request failed: /a: cannot write at byte 512: the quota on the host's disk is used up" })
    expect(logLine.parse(JSON.parse(JSON.stringify(line)))).toEqual(line)
    expect(logLine.parse({ ...line, phrase: { key: 'log.neverHeard' } })).toEqual({ ...line, phrase: undefined })
  })

  it('give way to the core where it says something else', () => {
    expect(coreSaid('odd', { reason: 'none' })).toBe('odd')
    expect(coreSaid('odd', undefined)).toBe('odd')
    expect(coreSaid('odd', { reason: 'kernelOld' })).toBe('odd')
  })

  it('cross a transport and come back', () => {
    const error = new ServiceError('machine-busy', phrase('use.busy', { name: 'a', what: phrase('use.cloning') }), { id: 'x' })
    const wire = wireError.parse(JSON.parse(JSON.stringify(toWireError(error))))
    expect(wire).toEqual({ code: 'machine-busy', message: "'a' is being cloned. Wait until that is done.", phrase: error.phrase, details: { id: 'x' } })
    expect(ServiceError.fromWire(wire)).toMatchObject({ code: 'machine-busy', message: wire.message, phrase: error.phrase })
  })

  it('of another version are left out, the error stays', () => {
    expect(wireError.parse({ code: 'internal', message: 'm', phrase: { key: 'never.heard' } })).toEqual({ code: 'internal', message: 'm' })
    expect(phraseSchema.safeParse({ key: 'machine.nameTaken' }).success).toBe(false)
    expect(phraseSchema.safeParse({ key: 'machine.nameTaken', values: { name: 'a' } }).success).toBe(true)
  })

  it('name what the system refused', () => {
    const full = Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' })
    expect(whyOf(full)).toEqual({ key: 'system.ENOSPC' })
    expect(whyOf(new Error('odd'))).toBe('odd')
    expect(writeError(Object.assign(new Error('x'), { code: 'EIO' }), '/a').message).toBe('/a cannot be written: input/output error')
    expect(writeError(full, '/a')).toMatchObject({ code: 'disk-full', phrase: { key: 'write.full', values: { path: '/a' } } })
  })
})
