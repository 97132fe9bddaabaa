import { describe, expect, it } from 'vitest'
import type { Machine } from '../api/types'
import { columnsFor, firstPanes, otherPanes } from './console-panes'

const machine = (id: string, changes: Partial<Machine> = {}): Machine => ({ id, name: id, state: 'running', isTemplate: false, ...changes }) as Machine

describe('consoles side by side', () => {
  it('begin with both ports of one machine, or with the serial lines of up to four', () => {
    expect(firstPanes([machine('a')])).toEqual([{ machineId: 'a', port: 'ttyS0' }, { machineId: 'a', port: 'hvc0' }])
    expect(firstPanes(['a', 'b', 'c', 'd', 'e'].map((id) => machine(id))).map(({ machineId, port }) => machineId + port)).toEqual(['attyS0', 'bttyS0', 'cttyS0', 'dttyS0'])
  })

  it('leave out what has no console', () => {
    expect(firstPanes([machine('a', { isTemplate: true }), machine('b', { state: 'damaged' })])).toEqual([])
    expect(otherPanes([machine('a', { isTemplate: true })], [])).toEqual([])
  })

  it('offer what is not shown yet', () => {
    const offered = otherPanes([machine('a'), machine('b')], [{ machineId: 'a', port: 'ttyS0' }, { machineId: 'b', port: 'ttyS0' }, { machineId: 'b', port: 'hvc0' }])
    expect(offered.map(({ machine: { id }, panes }) => [id, panes.map(({ port }) => port)])).toEqual([['a', ['hvc0']]])
  })

  it.each([[1, 1], [2, 2], [3, 3], [4, 2], [5, 3], [9, 3]])('%d panes stand in %d columns', (count, columns) => expect(columnsFor(count)).toBe(columns))
})
