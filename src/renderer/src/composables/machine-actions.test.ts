import { describe, expect, it } from 'vitest'
import { canDoAny, menuFor } from './machine-actions'

const actions = (...states: ('stopped' | 'running' | 'paused' | 'saved' | 'crashed' | 'damaged')[]): string[] =>
  menuFor(states.map((state) => ({ state }))).flat().map((entry) => entry.action)

describe('machine actions', () => {
  it('offers what the state allows', () => {
    expect(actions('stopped')).toEqual(['start', 'takeSnapshot', 'console', 'snapshots', 'log', 'clone', 'makeTemplate', 'export', 'settings', 'rename', 'copyId', 'delete'])
    expect(actions('running')).toEqual(['pause', 'suspend', 'reset', 'powerOff', 'forceStop', 'takeSnapshot', 'console', 'snapshots', 'log', 'clone', 'fork',
      'settings', 'rename', 'copyId', 'delete'])
    expect(actions('paused')).toContain('resume')
    expect(actions('crashed')).toContain('start')
    expect(actions('saved')).toEqual(['resume', 'startFresh', 'discardSaved', 'takeSnapshot', 'console', 'snapshots', 'log', 'clone', 'makeTemplate', 'export', 'settings', 'rename', 'copyId', 'delete'])
    expect(menuFor([{ state: 'stopped', isTemplate: true }]).flat().map((entry) => entry.action))
      .toEqual(['newFromTemplate', 'log', 'clone', 'releaseTemplate', 'export', 'settings', 'rename', 'copyId', 'delete'])
    expect(actions('damaged')).toEqual(['log', 'copyId', 'delete'])
  })

  it('offers both ways for a mixed selection, but no single-machine action', () => {
    expect(actions('stopped', 'running')).toEqual(['start', 'pause', 'suspend', 'reset', 'powerOff', 'forceStop', 'console', 'delete'])
    expect(canDoAny('rename', [{ state: 'stopped' }, { state: 'stopped' }])).toBe(false)
    expect(canDoAny('start', [])).toBe(false)
  })
})
