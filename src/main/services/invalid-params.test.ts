/** What the schemas of the contract refuse, as people are told. */
import { describe, expect, it } from 'vitest'
import { calls, inEnglish, type CallName } from '../../preload/contract'
import { invalidParams } from './invalid-params'

function told(name: CallName, params: unknown): string {
  const { error } = calls[name].params.safeParse(params)
  if (!error) throw new Error('nothing was refused')
  return inEnglish(invalidParams(error.issues))
}

const id = '00000000-0000-4000-8000-000000000001'
const update = (settings: object): string => told('machine.update', { id, settings })

describe('values that cannot be', () => {
  it.each([
    [{ name: 'x'.repeat(65) }, 'name may have 64 characters at most.'],
    [{ name: '' }, 'name must not be empty.'],
    [{ name: 'a, b' }, 'name takes letters, digits, spaces and - _ . ( ) + only, and begins with a letter or a digit.'],
    [{ memoryMiB: 4 }, 'memory (MiB) must be 16 at least.'],
    [{ memoryMiB: 1e9 }, 'memory (MiB) may be 3072 at most.'],
    [{ memoryMiB: 64.5 }, 'memory (MiB) must be a whole number.'],
    [{ tags: Array.from({ length: 17 }, (_, index) => `t${index}`) }, 'there may be 16 tags at most.'],
    [{ onReset: 'never' }, 'restart action must be one of: reboot, stop.'],
    [{ maxTier: 7 }, 'highest tier must be one of: 0, 1, 2.'],
    [{ disks: [{ path: '/a', format: 'raw', readOnly: false }, { path: '/b', format: 'raw', readOnly: false, queues: 99 }] }, 'request queues of disk 2 may be 8 at most.'],
  ])('%j: %s', (settings, text) => expect(update(settings)).toBe(`Not possible: ${text}`))

  it('are told all at once', () => {
    expect(update({ name: '', memoryMiB: 4 })).toBe('Not possible: name must not be empty, memory (MiB) must be 16 at least.')
  })

  it('say what is no value of a setting too', () => {
    expect(told('machine.start', { id: 'web' })).toBe('Not possible: id does not have the right form.')
    expect(told('disk.create', { path: '/a', format: 'raw', sizeBytes: 1000 })).toBe('Not possible: size in bytes must be a multiple of 512.')
  })
})
