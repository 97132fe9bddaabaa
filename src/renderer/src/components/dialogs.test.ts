/** What all dialogs promise: nothing typed is lost by a slip, nothing is destroyed by Enter, the reason is in sight. */
import { flushPromises } from '@vue/test-utils'
import { describe, expect, it, vi } from 'vitest'
import { api, body, choose, click, eachWithFreshApp, fill, find, open, press } from '../testing/mounted-app'

eachWithFreshApp()

const value = (name: string): string => find<HTMLInputElement>(`input[name="${name}"]`).value
const isOpen = (selector: string): boolean => {
  const dialog = document.querySelector<HTMLElement>(selector)
  return dialog !== null && dialog.closest<HTMLElement>('.el-overlay')?.style.display !== 'none'
}
/** The newest: one that was answered takes its time to go. */
const question = (): Element | undefined => [...document.querySelectorAll('.el-message-box')].at(-1)

async function answer(button: 'safe' | 'dangerous'): Promise<void> {
  question()?.querySelector<HTMLElement>(`.el-message-box__btns .el-button${button === 'safe' ? ':not(.el-button--danger)' : '--danger'}`)?.click()
  await flushPromises()
}

async function source(kind: string): Promise<void> {
  find<HTMLInputElement>(`.wizard input[value="${kind}"]`).click()
  await flushPromises()
}

describe('Escape', () => {
  it('closes a dialog from a list of choices that is closed, and only the list where it is open', async () => {
    api.add('web')
    await open()
    await press('s', { ctrlKey: true })
    const field = find('.settings-dialog [role="combobox"]')
    await press('ArrowDown', { code: 'ArrowDown' }, field)
    await vi.waitFor(() => expect(field.getAttribute('aria-expanded')).toBe('true'))
    await press('Escape', { code: 'Escape' }, field)
    expect(field.getAttribute('aria-expanded')).toBe('false')
    expect(isOpen('.settings-dialog')).toBe(true)
    await press('Escape', { code: 'Escape' }, field)
    await vi.waitFor(() => expect(isOpen('.settings-dialog')).toBe(false))
  })
})

describe('what was typed', () => {
  it('is given up only when that was agreed to', async () => {
    await open()
    await press('n', { ctrlKey: true })
    await source('kernel')
    await click('.wizard [data-action="next"]')
    await fill('.wizard input[name="kernel"]', '/boot/vmlinuz')
    await click('.wizard .el-dialog__headerbtn')
    expect(question()?.textContent).toContain('Discard what you typed?')
    // At once: the next key may come before anything that moves has come to rest.
    expect(document.activeElement?.textContent).toContain('Keep editing')
    await answer('safe')
    expect(value('kernel')).toBe('/boot/vmlinuz')
    await click('.wizard .el-dialog__headerbtn')
    await answer('dangerous')
    await vi.waitFor(() => expect(isOpen('.wizard')).toBe(false))
  })

  it('is not asked after where nothing was typed', async () => {
    await open()
    await press('n', { ctrlKey: true })
    await click('.wizard [data-action="next"]')
    await click('.wizard .el-dialog__headerbtn')
    expect(question()).toBeUndefined()
    await vi.waitFor(() => expect(isOpen('.wizard')).toBe(false))
  })

  it('of one source never becomes another’s', async () => {
    const template = api.add('Golden', { isTemplate: true, memoryMiB: 48 })
    await open()
    await click('[data-action="new-from-template"]')
    await click('.wizard [data-action="next"]')
    expect([value('machine-name'), value('memory')]).toEqual(['Golden 2', '48'])
    await fill('.wizard input[name="machine-name"]', 'From gold')
    await click('.wizard .back')
    await source('starter')
    await click('.wizard [data-action="next"]')
    expect([value('machine-name'), value('memory')]).toEqual(['Linux', '512'])
    await click('.wizard .back')
    await source('template')
    await click('.wizard [data-action="next"]')
    expect(value('machine-name')).toBe('From gold')
    await click('.wizard [data-action="next"]')
    expect(api.sources).toEqual([{ kind: 'template', templateId: template.id, withState: false, linked: true }])
  })

  it('in the notes of a snapshot is asked after too', async () => {
    api.add('web')
    await open()
    await choose('takeSnapshot')
    await flushPromises()
    await fill('textarea[name="snapshot-notes"]', 'before the upgrade')
    await click('[role="dialog"] .el-dialog__footer .el-button:not(.el-button--primary)')
    expect(question()?.textContent).toContain('Discard what you typed?')
    await answer('safe')
    expect(find<HTMLTextAreaElement>('textarea[name="snapshot-notes"]').value).toBe('before the upgrade')
  })
})

describe('the name a new machine is offered', () => {
  it('is one that no machine has, nor one that is being made anywhere', async () => {
    api.add('Linux')
    await open()
    api.claim('linux 2')
    await press('n', { ctrlKey: true })
    await source('kernel')
    await click('.wizard [data-action="next"]')
    expect(value('machine-name')).toBe('Linux 3')
  })

  it('is free again where the other machine was given up', async () => {
    api.claim('web copy')
    api.add('web')
    await open()
    await choose('clone')
    expect(value('copy-name')).toBe('web copy 2')
    await click('[role="dialog"] .el-dialog__footer .el-button:not(.el-button--primary)')
    api.claim()
    await press('n', { ctrlKey: true })
    await source('kernel')
    await click('.wizard [data-action="next"]')
    expect(value('machine-name')).toBe('Linux')
  })
})

describe('a form with something wrong', () => {
  it('goes to the first field that is, instead of switching its button off', async () => {
    await open()
    await press('n', { ctrlKey: true })
    await source('kernel')
    await click('.wizard [data-action="next"]')
    await click('.wizard [data-action="next"]')
    await vi.waitFor(() => expect(body()).toContain('Please fill this in'))
    expect(api.calls).not.toContain('create')
    expect(find<HTMLButtonElement>('.wizard [data-action="next"]').disabled).toBe(false)
  })
})

describe('a number out of range', () => {
  it.each(['7', '99999'])('is refused with the range, and never made another one: %s MiB', async (memory) => {
    api.add('web', { kernel: '/boot/vmlinuz' })
    await open()
    await press('s', { ctrlKey: true })
    await fill('.settings-dialog input[name="memory"]', memory)
    find('.settings-dialog input[name="memory"]').dispatchEvent(new Event('change', { bubbles: true }))
    await click('.settings-dialog [data-action="save"]')
    await vi.waitFor(() => expect(find('.settings-dialog').textContent).toContain('Between 16 and 3072 MiB'))
    expect(value('memory')).toBe(memory)
    expect(api.calls).not.toContain('update')
  })
})

describe('what cannot be undone', () => {
  it('has the safe answer under Enter, and says how many', async () => {
    const machine = api.add('web')
    await api.remove(machine.id)
    await open()
    await click('[data-action="trash"]')
    await click('[data-action="purge"]')
    expect(question()?.textContent).toContain('Delete web for ever?')
    await vi.waitFor(() => expect(document.activeElement?.textContent).toContain('Cancel'))
    await answer('safe')
    await click('.empty-all')
    expect(question()?.textContent).toContain('Delete 1 machine for ever?')
  })
})

describe('a clone of a machine that runs', () => {
  it('says what it is made from', async () => {
    api.add('web', { state: 'running' })
    await open()
    await choose('clone')
    expect(find('[data-field="copy-from"]').textContent).toContain('now')
    expect(body()).toContain('A snapshot is taken first; the machine goes on.')
  })
})

describe('facts of a machine', () => {
  it('are in the language of the interface', async () => {
    api.add('web', { disks: [{ path: '/d/a.img', format: 'raw', readOnly: true, cache: 'unsafe', queues: 2 }] })
    await open('fr')
    expect(find('.facts .format').textContent).toBe('brut · Mode de cache Sans garantie · 2 files de requêtes · lecture seule')
  })
})

describe('the first start', () => {
  it('has a way to the language and to the help', async () => {
    await open()
    await click('.welcome [data-action="preferences"]')
    expect(body()).toContain('Language')
  })
})
