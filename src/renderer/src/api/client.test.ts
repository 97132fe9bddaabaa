import { ERROR_CODES, type NestboxBridge } from '@contract/index'
import { describe, expect, it, vi } from 'vitest'
import { reactive } from 'vue'
import { camelCase } from '../composables/use-error-text'
import { en } from '../locales/en'
import { createClient } from './client'
import { ApiError } from './errors'

type Handler = (payload: unknown) => void

function fakeBridge(answers: Record<string, unknown> = {}) {
  const handlers = new Map<string, Set<Handler>>()
  const calls: [string, unknown][] = []
  const bridge = {
    call: (name: string, params: unknown) => {
      // As Electron's bridge does it: it takes no proxies.
      calls.push([name, structuredClone(params)])
      const answer = answers[name]
      return Promise.resolve(typeof answer === 'function' ? (answer as () => unknown)() : answer ?? { ok: true, result: undefined })
    },
    subscribe: (name: string, handler: Handler) => {
      const set = handlers.get(name) ?? new Set<Handler>()
      handlers.set(name, set.add(handler))
      return () => void set.delete(handler)
    },
  }
  const emit = (name: string, payload: unknown): void => handlers.get(name)?.forEach((handler) => handler(payload))
  return { bridge: bridge as unknown as NestboxBridge, calls, emit, count: (name: string) => handlers.get(name)?.size ?? 0 }
}

describe('client', () => {
  it('makes exceptions of errors', async () => {
    const { bridge } = fakeBridge({ 'machine.start': { ok: false, error: { code: 'wrong-state', message: 'it runs', details: { a: 1 } } } })
    const error = await createClient(bridge).start('x').catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(ApiError)
    expect(error).toMatchObject({ code: 'wrong-state', message: 'it runs', details: { a: 1 } })
  })

  it('sends plain values of reactive ones', async () => {
    const { bridge, calls } = fakeBridge()
    const disks = reactive([{ path: '/d.qcow2', format: 'qcow2' as const, readOnly: false }])
    await createClient(bridge).update('x', { disks, tags: reactive(['a']) })
    expect(calls).toEqual([['machine.update', { id: 'x', settings: { disks: [{ path: '/d.qcow2', format: 'qcow2', readOnly: false }], tags: ['a'] } }]])
  })

  it('leaves what an image brings to the image', async () => {
    const { bridge, calls } = fakeBridge()
    const settings = {
      name: 'a', group: '', tags: [], notes: '', memoryMiB: 64, cpuProfile: 'p', kernel: '/k', initrd: '/i', commandLine: 'c', disks: [], onReset: 'stop', maxTier: 0,
    } as const
    const copy = { ...settings, tags: [], disks: [] }
    await createClient(bridge).create({ kind: 'starter' }, copy)
    await createClient(bridge).create({ kind: 'kernel' }, copy)
    expect(calls[0][1]).toMatchObject({ image: 'starter' })
    expect((calls[0][1] as { settings: object }).settings).not.toHaveProperty('kernel')
    expect(calls[1][1]).toEqual({ settings: copy })
  })

  it('shows chunks that came before the answer, in order, and acknowledges what was drawn', async () => {
    let answer: (value: unknown) => void = () => undefined
    const { bridge, calls, emit, count } = fakeBridge({ 'console.open': () => new Promise((resolve) => { answer = resolve }) })
    const shown: [string, () => void][] = []
    const opening = createClient(bridge).console('m', 'ttyS0').open((text, done) => shown.push([String(text), done]))
    emit('console.data', { consoleId: 'c1', machineId: 'm', port: 'ttyS0', text: 'first', bytes: 5 })
    emit('console.data', { consoleId: 'other', machineId: 'm', port: 'ttyS0', text: 'not ours', bytes: 8 })
    answer({ ok: true, result: { consoleId: 'c1' } })
    const console = await opening
    emit('console.data', { consoleId: 'c1', machineId: 'm', port: 'ttyS0', text: 'second', bytes: 6 })
    expect(shown.map(([text]) => text)).toEqual(['first', 'second'])
    expect(calls.filter(([name]) => name === 'console.ack')).toEqual([])
    shown[0][1]()
    expect(calls.at(-1)).toEqual(['console.ack', { consoleId: 'c1', bytes: 5 }])
    console.focus()
    expect(calls.at(-1)).toEqual(['console.focus', { consoleId: 'c1' }])
    console.close()
    expect(calls.at(-1)).toEqual(['console.close', { consoleId: 'c1' }])
    expect(count('console.data')).toBe(0)
  })

  it('lets go of a console that could not be opened', async () => {
    const { bridge, count } = fakeBridge({ 'console.open': { ok: false, error: { code: 'not-found', message: 'gone' } } })
    await expect(createClient(bridge).console('m', 'hvc0').open(() => undefined)).rejects.toThrow('gone')
    expect(count('console.data')).toBe(0)
  })

  it('tells of keys that reached nobody', async () => {
    const { bridge } = fakeBridge({ 'console.write': { ok: false, error: { code: 'wrong-state', message: 'stopped' } } })
    const onError = vi.fn()
    createClient(bridge, onError).console('m', 'ttyS0').write('x')
    await vi.waitFor(() => expect(onError).toHaveBeenCalledOnce())
  })

  it('has a text for every error code of the contract', () => {
    for (const code of ERROR_CODES) expect(en.error, code).toHaveProperty(camelCase(code))
  })
})
