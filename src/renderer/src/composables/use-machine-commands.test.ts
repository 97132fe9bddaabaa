import { describe, expect, it } from 'vitest'
import { ApiError } from '../api/errors'
import { api, body, choose, click, eachWithFreshApp, fill, find, open, press } from '../testing/mounted-app'

eachWithFreshApp()

const question = (): string => document.querySelector('.el-message-box')?.textContent ?? ''
const agree = (): Promise<void> => click('.el-message-box__btns .el-button--danger')
const refuse = (): Promise<void> => click('.el-message-box__btns .el-button:not(.el-button--danger)')

describe('what would lose the guest’s memory', () => {
  it.each([
    ['forceStop', 'running', 'is lost', 'stopped'],
    ['reset', 'running', 'is lost', 'running'],
    ['startFresh', 'saved', 'after a power cut', 'running'],
    ['discardSaved', 'saved', 'removed for good', 'stopped'],
  ] as const)('%s is done only when it was agreed to', async (action, state, said, after) => {
    const machine = api.add('web', { state })
    await open()
    await choose(action)
    expect(question()).toContain('web')
    expect(question()).toContain(said)
    await refuse()
    expect(api.calls).not.toContain(action)
    await choose(action)
    await agree()
    expect(api.calls).toContain(action)
    expect(api.machineMap.get(machine.id)?.state).toBe(after)
  })

  it('does not ask where nothing is lost', async () => {
    api.add('web', { state: 'running' })
    await open()
    await choose('suspend')
    expect(question()).toBe('')
    expect(api.calls).toContain('suspend')
  })

  it('asks once for many', async () => {
    api.add('a', { state: 'running' })
    api.add('b', { state: 'paused' })
    api.add('c')
    const wrapper = await open()
    await press('a', { ctrlKey: true }, wrapper.find('[data-machine="a"]').element)
    await press('h', { ctrlKey: true, shiftKey: true })
    expect(question()).toContain('2 machines selected')
    await agree()
    expect([...api.machineMap.values()].map(({ state }) => state)).toEqual(['stopped', 'stopped', 'stopped'])
  })
})

describe('names', () => {
  it('stay in the dialog when the manager refuses them', async () => {
    api.add('web')
    await open()
    await press('F2')
    await fill('input[name="machine-name"]', 'db')
    api.failures.set('update', new ApiError('library-read-only', 'machine.json cannot be written'))
    await click('[data-action="rename"]')
    expect(body()).toContain('machine.json cannot be written')
    expect(find<HTMLInputElement>('input[name="machine-name"]').value).toBe('db')
    await click('[data-action="rename"]')
    expect([...api.machineMap.values()].map(({ name }) => name)).toEqual(['db'])
  })
})

describe('a suspended machine', () => {
  it('goes on with the keys that start machines', async () => {
    const machine = api.add('web', { state: 'saved' })
    await open()
    await press('Enter', { ctrlKey: true })
    expect(api.machineMap.get(machine.id)?.state).toBe('running')
  })
})
