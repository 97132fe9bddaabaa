import { flushPromises, mount, type VueWrapper } from '@vue/test-utils'
import { createPinia, setActivePinia, type Pinia } from 'pinia'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { setApi } from '../api/current'
import { ApiError } from '../api/errors'
import { FakeApi } from '../api/fake-api'
import type { Machine } from '../api/types'
import { createMessages } from '../locales'
import SnapshotsTab from './SnapshotsTab.vue'

let api: FakeApi
let pinia: Pinia
let tab: VueWrapper | undefined

beforeEach(() => {
  pinia = createPinia()
  setActivePinia(pinia)
  api = new FakeApi()
  setApi(api)
})

afterEach(() => {
  tab?.unmount()
  document.body.innerHTML = ''
})

async function open(machine: Machine, language: 'en' | 'fr' = 'en'): Promise<VueWrapper> {
  tab = mount(SnapshotsTab, { props: { machine, canClone: false }, global: { plugins: [pinia, createMessages(language)] }, attachTo: document.body })
  await flushPromises()
  return tab
}

const body = (): string => document.body.textContent ?? ''
const names = (): string[] => [...document.querySelectorAll<HTMLElement>('[role="treeitem"]')].map((row) => row.dataset.snapshot ?? '')
const chosen = (): string | undefined => document.querySelector<HTMLElement>('[role="treeitem"][aria-selected="true"]')?.dataset.snapshot
const tree = (): HTMLElement => {
  const element = document.querySelector<HTMLElement>('[role="tree"]')
  if (!element) throw new Error('there is no tree')
  return element
}

async function press(key: string, init: KeyboardEventInit = {}): Promise<KeyboardEvent> {
  const event = new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true, ...init })
  tree().dispatchEvent(event)
  await flushPromises()
  return event
}

async function click(selector: string): Promise<void> {
  const element = document.querySelector<HTMLElement>(selector)
  if (!element) throw new Error(`nothing matches ${selector}`)
  element.click()
  await flushPromises()
}

async function type(selector: string, text: string): Promise<void> {
  const field = document.querySelector<HTMLInputElement>(selector)
  if (!field) throw new Error(`no field ${selector}`)
  field.value = text
  field.dispatchEvent(new Event('input', { bubbles: true }))
  await flushPromises()
}

describe('the snapshots of a machine', () => {
  it('begins empty and takes the first with name and notes', async () => {
    const machine = api.add('web')
    await open(machine)
    expect(body()).toContain('No snapshots yet')
    await click('[data-action="snapshot-take"]')
    await type('input[name="snapshot-name"]', 'clean')
    await type('textarea[name="snapshot-notes"]', 'before the update')
    await click('[data-action="snapshot-save"]')
    expect(names()).toEqual(['clean', 'Current state'])
    expect(chosen()).toBe('clean')
    expect(body()).toContain('before the update')
    expect(body()).toContain('Snapshot clean was taken')
  })

  it('keeps the dialog and what was typed when it is refused', async () => {
    const machine = api.add('web')
    await open(machine)
    await click('[data-action="snapshot-take"]')
    api.failures.set('takeSnapshot', new ApiError('disk-full', 'No space left in /home/user/Nestbox.'))
    await click('[data-action="snapshot-save"]')
    expect(body()).toContain('No space left in /home/user/Nestbox.')
    expect(document.querySelector('input[name="snapshot-name"]')).not.toBeNull()
    expect(api.snapshotMap.get(machine.id)).toBeUndefined()
  })

  it('refuses a name that is taken, whatever its case', async () => {
    const machine = api.add('web')
    api.addSnapshot(machine.id, { name: 'Clean' })
    await open(machine)
    await click('[data-action="snapshot-take"]')
    await type('input[name="snapshot-name"]', 'clean')
    await click('[data-action="snapshot-save"]')
    await vi.waitFor(() => expect(body()).toContain('A snapshot of this machine has this name already'))
    expect(api.snapshotMap.get(machine.id)?.snapshots).toHaveLength(1)
  })

  it('restores, goes on where it ran, and undoes it', async () => {
    const machine = api.add('web', { state: 'running' })
    const first = api.addSnapshot(machine.id, { name: 'one' })
    const second = api.addSnapshot(machine.id, { name: 'two' })
    await open(machine)
    await click('[data-snapshot="one"]')
    await click('[data-action="snapshot-restore"]')
    expect(api.calls).toContain(`restoreSnapshot ${first.id} keep start`)
    expect(api.snapshotMap.get(machine.id)?.current).toBe(first.id)
    expect(names()).toEqual(['one', 'two', 'Before one', 'Current state'])
    await click('.notice-action')
    expect(names()).toEqual(['one', 'two', 'Current state'])
    expect(api.snapshotMap.get(machine.id)?.current).toBe(second.id)
  })

  it('names what a restore keeps in the language of the interface', async () => {
    const machine = api.add('web')
    api.addSnapshot(machine.id, { name: 'un' })
    await open(machine, 'fr')
    await click('[data-snapshot="un"]')
    await click('[data-action="snapshot-restore"]')
    expect(names()).toContain('Avant un')
  })

  it('offers the disks where the memory of a snapshot cannot be used', async () => {
    const machine = api.add('web', { state: 'running' })
    const first = api.addSnapshot(machine.id, { name: 'one' })
    await open(machine)
    await click('[data-snapshot="one"]')
    const call = `restoreSnapshot ${first.id} keep start`
    api.failures.set(call, new ApiError('state-damaged', 'The saved state x/state.nbs is damaged.'))
    await click('[data-action="snapshot-restore"]')
    expect(body()).toContain('The memory of one cannot be used')
    expect(body()).toContain('The saved state x/state.nbs is damaged. The machine can have the disks')
    await click('.el-message-box__btns .el-button--primary')
    await flushPromises()
    expect(api.calls.filter((made) => made.startsWith('restoreSnapshot'))).toEqual([call, `${call} fresh`])
    expect(body()).toContain('web is as in one again')
  })

  it('names those that cannot be read, and deletes them when told to', async () => {
    const machine = api.add('web')
    const problem = { key: 'snapshot.damaged', values: { path: '/home/user/Nestbox/s/snapshot.json', why: { key: 'system.EIO' } } } as const
    api.snapshotMap.set(machine.id, { current: null, snapshots: [], damaged: [{ id: 's1', problem }] })
    await open(machine)
    expect(document.querySelector('[role="alert"]')?.textContent).toContain('/home/user/Nestbox/s/snapshot.json cannot be used: input/output error')
    await click('[data-action="snapshot-delete-damaged"]')
    expect(body()).toContain('Delete snapshot s1?')
    await click('.el-message-box__btns .el-button--danger')
    await flushPromises()
    expect(document.querySelector('[role="alert"].damaged')).toBeNull()
  })

  it('is walked with the keyboard and keeps its keys from the machine', async () => {
    const machine = api.add('web')
    for (const name of ['one', 'two', 'three']) api.addSnapshot(machine.id, { name })
    await open(machine)
    expect(chosen()).toBe('Current state')
    await press('ArrowUp')
    expect(chosen()).toBe('three')
    await press('Home')
    expect(chosen()).toBe('one')
    await press('t')
    expect(chosen()).toBe('two')
    await press('ArrowLeft')
    expect(chosen()).toBe('one')
    expect(tree().getAttribute('aria-activedescendant')).toBe(document.querySelector('[data-snapshot="one"]')?.id)
    let leaked = false
    window.addEventListener('keydown', () => {
      leaked = true
    }, { once: true })
    await press('F2')
    expect(leaked).toBe(false)
    expect(document.querySelector<HTMLInputElement>('input[name="snapshot-name"]')?.value).toBe('one')
  })

  it('asks before it deletes, and the children stay', async () => {
    const machine = api.add('web')
    const first = api.addSnapshot(machine.id, { name: 'one' })
    api.addSnapshot(machine.id, { name: 'two' })
    await open(machine)
    await click('[data-snapshot="one"]')
    await press('Delete')
    expect(body()).toContain('Delete snapshot one?')
    expect(api.calls).not.toContain('deleteSnapshot')
    await click('.el-message-box .el-button--danger')
    expect(api.snapshotMap.get(machine.id)?.snapshots.map(({ name, parent }) => [name, parent])).toEqual([['two', null]])
    expect(first.parent).toBeNull()
  })

  it('opens its menu with the keyboard', async () => {
    const machine = api.add('web')
    api.addSnapshot(machine.id, { name: 'one' })
    await open(machine)
    await press('ArrowUp')
    await press('F10', { shiftKey: true })
    expect([...document.querySelectorAll<HTMLElement>('[role="menuitem"]')].map((item) => item.dataset.action)).toEqual(['restore', 'edit', 'remove'])
  })

  it('puts only what is in sight on the page', async () => {
    const machine = api.add('web')
    for (let i = 0; i < 800; i++) api.addSnapshot(machine.id, { name: `s${i}`, screen: 'x\n'.repeat(20) })
    await open(machine)
    expect(document.querySelectorAll('[role="treeitem"]').length).toBeLessThan(60)
    await press('End')
    expect(names()).toContain('Current state')
    expect(document.querySelectorAll('[role="treeitem"]').length).toBeLessThan(60)
  })

  it('follows what another client does, and says why it cannot load', async () => {
    const machine = api.add('web')
    api.addSnapshot(machine.id, { name: 'one' })
    await open(machine)
    api.addSnapshot(machine.id, { name: 'made elsewhere' })
    await flushPromises()
    expect(names()).toContain('made elsewhere')
    const other = api.add('db')
    api.failures.set('snapshots', new ApiError('file-unreadable', '/home/user/Nestbox/db cannot be read.'))
    await tab?.setProps({ machine: other })
    await flushPromises()
    expect(body()).toContain('/home/user/Nestbox/db cannot be read.')
  })
})
