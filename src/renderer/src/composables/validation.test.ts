import { describe, expect, it } from 'vitest'
import type { MachineSettings } from '../api/types'
import { diskProblems, freeName, hasProblems, memoryProblem, nameProblem, pathProblem, settingsProblems } from './validation'

describe('validation', () => {
  it.each([
    ['web 1', undefined],
    ['Mon système (été)', undefined],
    ['', 'validation.required'],
    ['   ', 'validation.required'],
    ['../evil', 'validation.nameInvalid'],
    ['a/b', 'validation.nameInvalid'],
    ['-rf', 'validation.nameInvalid'],
    ['x'.repeat(65), 'validation.nameLong'],
    ['WEB', 'validation.nameTaken'],
  ])('name %j gives %s', (name, key) => expect(nameProblem(name, ['web'])?.key).toBe(key))

  it.each([[16, true], [3072, true], [15, false], [3073, false], [100.5, false], [NaN, false], [undefined, false]])(
    'memory %s: %s', (value, isFine) => expect(memoryProblem(value) === undefined).toBe(isFine),
  )

  it('wants full paths', () => {
    expect(pathProblem('/boot/vmlinuz', true)).toBeUndefined()
    expect(pathProblem('C:\\images\\a.qcow2', true)).toBeUndefined()
    expect(pathProblem('vmlinuz', true)?.key).toBe('validation.absolutePath')
    expect(pathProblem('', false)).toBeUndefined()
    expect(pathProblem('', true)?.key).toBe('validation.required')
  })

  it('names the second use of a disk', () => {
    const disk = (path: string) => ({ path, format: 'raw' as const, readOnly: false })
    expect(diskProblems([disk('/a'), disk('/b'), disk('/a')]).map((p) => p?.key)).toEqual([undefined, undefined, 'validation.duplicateDisk'])
  })

  it.each([[1, undefined], [8, undefined], [undefined, undefined], [0, 'validation.queuesRange'], [9, 'validation.queuesRange'], [1.5, 'validation.queuesRange']])('takes %s request queues or says what is possible', (queues, key) => {
    const [found] = diskProblems([{ path: '/a', format: 'raw', readOnly: false, ...(queues === undefined ? {} : { queues }) }])
    expect(found?.key).toBe(key)
  })

  it('sums up', () => {
    const settings: MachineSettings = {
      name: 'a', group: '', tags: [], notes: '', memoryMiB: 512, cpuProfile: 'x', kernel: '', initrd: '', commandLine: '', disks: [], onReset: 'reboot', maxTier: 0,
    }
    expect(hasProblems(settingsProblems(settings, [], false))).toBe(false)
    expect(hasProblems(settingsProblems(settings, [], true))).toBe(true)
  })

  it('finds a free name', () => {
    expect(freeName('Linux', [])).toBe('Linux')
    expect(freeName('Linux', ['linux', 'Linux 2'])).toBe('Linux 3')
  })
})
