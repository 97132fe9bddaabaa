import { flushPromises } from '@vue/test-utils'
import { describe, expect, it, vi } from 'vitest'
import { ApiError } from './api/errors'
import { api, body, choose, click, eachWithFreshApp, fill, open, press } from './testing/mounted-app'

eachWithFreshApp()

describe('first start', () => {
  it('creates and starts a machine with one click and shows its console', async () => {
    await open()
    expect(body()).toContain('Welcome to Nestbox')
    await click('[data-action="quick-start"]')
    expect(api.calls).toEqual(expect.arrayContaining(['create', 'start']))
    expect([...api.machineMap.values()].map((machine) => [machine.name, machine.state])).toEqual([['My first Linux', 'running']])
    expect(document.querySelector('.console-stub')).not.toBeNull()
  })

  it('stays and says why when the manager refuses', async () => {
    api.failures.set('create', new ApiError('image-unavailable', 'apt-get is missing'))
    await open()
    await click('[data-action="quick-start"]')
    expect(body()).toContain('apt-get is missing')
    expect(body()).toContain('Choose another image, or use your own kernel.')
    expect(body()).toContain('Welcome to Nestbox')
  })

  it('speaks French', async () => {
    await open('fr')
    expect(body()).toContain('Bienvenue dans Nestbox')
    expect(document.documentElement.lang).toBe('fr')
  })
})

describe('the list and the actions', () => {
  it('shows state in words and runs actions on the selected machine', async () => {
    const machine = api.add('web')
    const wrapper = await open()
    expect(wrapper.find('[role="option"]').attributes('aria-label')).toBe('web, Stopped')
    await click('[data-action="start"]')
    expect(api.machineMap.get(machine.id)?.state).toBe('running')
    await click('[data-action="pause"]')
    expect(api.machineMap.get(machine.id)?.state).toBe('paused')
    await click('[data-action="resume"]')
    await click('[data-action="power-off"]')
    expect(wrapper.find('[role="option"]').attributes('aria-label')).toBe('web, Stopped')
  })

  it('moves with arrow keys and acts with shortcuts', async () => {
    api.add('a')
    const second = api.add('b')
    const wrapper = await open()
    const first = wrapper.find('[data-machine="a"]')
    await press('ArrowDown', {}, first.element)
    expect(wrapper.find('[data-machine="b"]').attributes('aria-selected')).toBe('true')
    await press('Enter', { ctrlKey: true })
    expect(api.machineMap.get(second.id)?.state).toBe('running')
    await press('p', { ctrlKey: true })
    expect(api.machineMap.get(second.id)?.state).toBe('paused')
  })

  it('acts on many at once and names the one that failed', async () => {
    api.add('a')
    api.add('b')
    const wrapper = await open()
    await press('a', { ctrlKey: true }, wrapper.find('[data-machine="a"]').element)
    expect(body()).toContain('2 machines selected')
    api.failures.set('start', new ApiError('not-enough-memory', 'the host has 12 MiB left'))
    await click('[data-action="start"]')
    expect([...api.machineMap.values()].map((machine) => machine.state)).toEqual(['stopped', 'running'])
    expect(body()).toContain('the host has 12 MiB left')
    expect(body()).toContain('1 done, 1 failed')
  })

  it('deletes to the trash and undoes it', async () => {
    api.add('keep')
    const gone = api.add('zap')
    await open()
    await click('[data-machine="zap"]')
    await press('Delete')
    expect(api.machineMap.has(gone.id)).toBe(false)
    expect(body()).toContain('zap is in the trash')
    await click('.notice-action')
    expect(api.machineMap.has(gone.id)).toBe(true)
  })

  it('tells of a crash once, with a way to the log', async () => {
    const machine = api.add('web', { state: 'running' })
    await open()
    api.emitMachine({ ...machine, state: 'crashed', problem: 'Triple fault.' })
    await flushPromises()
    expect(body()).toContain('web stopped unexpectedly')
    await click('.notice-action')
    expect(body()).toContain('machine started')
  })

  it.each(['en', 'fr'] as const)('tells of a machine that waits for room on the host while it does, with a way to resume it (%s)', async (locale) => {
    const machine = api.add('web', { state: 'running' })
    await open(locale)
    const title = locale === 'en' ? 'web is paused: the disk of this computer is full' : 'web est en pause\u00a0: le disque de cet ordinateur est plein'
    const waiting = { ...machine, state: 'paused' as const, waitsFor: { kind: 'host-disk' as const, path: '/d/a.qcow2' } }
    api.emitMachine(waiting)
    api.emitMachine(waiting)
    await flushPromises()
    expect(body().split(title)).toHaveLength(2)
    expect(body()).toContain('/d/a.qcow2')
    await click('.notice-action')
    expect(api.machineMap.get(machine.id)?.state).toBe('running')
    api.emitMachine(waiting)
    await flushPromises()
    expect(document.querySelectorAll('.notice-warning')).not.toHaveLength(0)
    api.emitMachine({ ...machine, state: 'running' })
    await flushPromises()
    expect(body()).not.toContain(locale === 'en' ? 'Paused: the disk' : 'En pause\u00a0: le disque')
  })

  it('says changes of state to those who do not see them, but not what was so from the start', async () => {
    const machine = api.add('web')
    const wrapper = await open()
    const announced = (): string => wrapper.find('[data-field="announcement"]').text()
    expect(announced()).toBe('')
    api.emitMachine({ ...machine, state: 'starting' })
    await flushPromises()
    expect(announced()).toBe('web, Starting')
    api.emitMachine({ ...machine, state: 'running' })
    api.emitMachine({ ...machine, state: 'running', notes: 'x' })
    await flushPromises()
    expect(announced()).toBe('web, Running')
  })

  it('says in the tasks what to do about one that failed', async () => {
    api.add('web')
    await open()
    api.emitTask({ id: 't', kind: 'image.download', subject: 'Alpine', state: 'failed', cancellable: false, error: { code: 'checksum-mismatch', message: 'SHA-256 is 00' } })
    await click('[data-action="tasks"]')
    await vi.waitFor(() => expect(document.querySelector('[data-task-state="failed"]')?.textContent).toContain('do not use this source'))
  })

  it('filters as one types and says when nothing matches', async () => {
    api.add('alpha')
    api.add('beta')
    const wrapper = await open()
    await wrapper.find('input[name="search"]').setValue('bet')
    expect(wrapper.findAll('[role="option"]').map((row) => row.attributes('data-machine'))).toEqual(['beta'])
    await wrapper.find('input[name="search"]').setValue('gamma')
    expect(body()).toContain('No machine matches')
  })

  it('opens the menu with the keyboard and gives the focus back', async () => {
    api.add('web')
    const wrapper = await open()
    const row = wrapper.find<HTMLElement>('[role="option"]').element
    row.focus()
    await press('F10', { shiftKey: true }, row)
    const items = [...document.querySelectorAll<HTMLElement>('[role="menuitem"]')]
    expect(items.map((item) => item.dataset.action)).toEqual(['start', 'takeSnapshot', 'console', 'snapshots', 'log', 'clone', 'makeTemplate', 'export', 'settings', 'rename', 'copyId', 'delete'])
    expect(document.activeElement).toBe(items[0])
    await press('Escape', {}, items[0])
    expect(document.querySelector('[role="menu"]')).toBeNull()
    expect(document.activeElement).toBe(row)
  })
})

describe('dialogs', () => {
  it('refuses a taken name in the rename dialog and saves a free one', async () => {
    const machine = api.add('web')
    api.add('db')
    await open()
    await click('[data-machine="web"]')
    await press('F2')
    const input = document.querySelector<HTMLInputElement>('input[name="machine-name"]')
    if (!input) throw new Error('no field')
    const type = async (text: string): Promise<void> => {
      input.value = text
      input.dispatchEvent(new Event('input', { bubbles: true }))
      await flushPromises()
    }
    await type('DB')
    await vi.waitFor(() => expect(body()).toContain('A machine with this name exists already'))
    await type('web 2')
    input.form?.dispatchEvent(new Event('submit', { cancelable: true }))
    await flushPromises()
    expect(api.machineMap.get(machine.id)?.name).toBe('web 2')
  })

  it('shows what is missing instead of saving', async () => {
    api.add('web')
    await open()
    await press('s', { ctrlKey: true })
    expect(document.querySelector('.settings-dialog')).not.toBeNull()
    const notes = document.querySelector<HTMLTextAreaElement>('textarea[name="notes"]')
    if (!notes) throw new Error('no field')
    notes.value = 'hello'
    notes.dispatchEvent(new Event('input', { bubbles: true }))
    await flushPromises()
    // the kernel path of this machine is empty: the dialog asks for it first
    await click('[data-action="save"]')
    expect(api.calls).not.toContain('update')
    await vi.waitFor(() => expect(body()).toContain('Please fill this in'))
  })

  it('obeys the menu of the application, but not behind a dialog', async () => {
    api.add('web')
    await open()
    api.emitCommand('trash')
    await flushPromises()
    expect(body()).toContain('The trash is empty')
    api.emitCommand('help')
    await flushPromises()
    api.emitCommand('new')
    await flushPromises()
    expect(document.querySelector('.wizard')).toBeNull()
  })

  it('lists every shortcut', async () => {
    await open()
    await press('F1')
    expect(body()).toContain('Shortcuts and commands')
    expect(document.querySelectorAll('kbd').length).toBeGreaterThan(30)
  })
})

describe('the inspector', () => {
  it('says where the time of a running machine goes', async () => {
    const machine = api.add('web', { state: 'running' })
    history.replaceState(null, '', `#/machines/${machine.id}/inspector`)
    await open()
    expect(body()).toContain('Nothing to inspect yet')
    const counters = {
      instructions: 0, guestRunNs: 0, interrupts: 0, readBytes: 0, writtenBytes: 0, residentGuestBytes: 0, processBytes: 0, processCpuSeconds: 0, unimplemented: {},
    }
    api.emitFigures(machine.id, { ...counters, timeMs: 1_000, exits: { hlt: 1 }, idleNs: 0, tierNs: { t0: 0, t2: 0 }, ringNs: { ring0: 0, ring3: 0 }, tlbMisses: 0 })
    api.emitFigures(machine.id, {
      ...counters, timeMs: 2_000, exits: { hlt: 41 }, idleNs: 500, tierNs: { t0: 100, t2: 400 }, ringNs: { ring0: 30, ring3: 70 }, tlbMisses: 250,
      translations: { blocks: 1234, regions: 5, modules: 6, wasmBytes: 2048, translateNs: 2e8, compileNs: 1e9, adopted: 0 },
    })
    await flushPromises()
    expect(document.querySelector('[data-share="t2"]')?.textContent).toMatch(/Tier 2, regions\s*40\s?%/)
    expect(document.querySelector('[data-share="ring3"]')?.textContent).toContain('70')
    expect(body()).toContain('1,234')
    expect(body()).toContain('40/s')
    expect(body()).toContain('250/s')
  })
})

describe('the address', () => {
  it('names machine and tab, and opens there', async () => {
    api.add('web')
    const second = api.add('db')
    history.replaceState(null, '', `#/machines/${second.id}/log`)
    const wrapper = await open()
    expect(wrapper.find('[data-machine="db"]').attributes('aria-selected')).toBe('true')
    expect(body()).toContain('machine started')
    await click('[data-machine="web"]')
    expect(location.hash).toMatch(/^#\/machines\/m\d+\/log$/)
    await press('Delete', { ctrlKey: true, shiftKey: true })
    expect(location.hash).toBe('#/trash')
  })
})

describe('connection', () => {
  it('says when it is lost and loads anew when it is back', async () => {
    api.add('web')
    await open()
    api.emitConnection(false)
    await flushPromises()
    expect(body()).toContain('Connection lost')
    api.add('made elsewhere')
    api.emitConnection(true)
    await flushPromises()
    expect(body()).toContain('made elsewhere')
    expect(body()).not.toContain('Connection lost')
  })
})

describe('machines from machines', () => {
  it('clones under the first free name and shows the clone', async () => {
    api.add('web')
    const wrapper = await open()
    await choose('clone')
    expect(document.querySelector<HTMLInputElement>('input[name="copy-name"]')?.value).toBe('web copy')
    await click('[data-action="copy"]')
    expect(wrapper.find('[data-machine="web copy"]').attributes('aria-selected')).toBe('true')
    expect(body()).toContain('web (clone)')
  })

  it('clones a running machine from a snapshot it takes for that, and forks it as it is', async () => {
    const machine = api.add('web', { state: 'running' })
    await open()
    await choose('clone')
    await click('[data-action="copy"]')
    const [taken] = api.snapshotMap.get(machine.id)?.snapshots ?? []
    expect(taken.name).toBe('For web copy')
    expect(api.calls).toContain(`clone ${taken.id}`)
    await click('[data-machine="web"]')
    await choose('fork')
    await click('[data-action="copy"]')
    expect([...api.machineMap.values()].map(({ name, state }) => [name, state])).toContainEqual(['web fork', 'running'])
  })

  it('links the clone’s disks to the original where asked', async () => {
    api.add('web', { disks: [{ path: '/d/a.qcow2', format: 'qcow2', readOnly: false }] })
    await open()
    await choose('clone')
    await click('[data-field="linked"] input')
    await click('[data-action="copy"]')
    expect(api.calls).toContain('clone linked over For web copy')
  })

  it('says why a clone failed and keeps the dialog', async () => {
    api.add('web')
    await open()
    await choose('clone')
    api.failures.set('clone', new ApiError('disk-full', 'There is no space left to write /home/user/Nestbox.'))
    await click('[data-action="copy"]')
    expect(body()).toContain('There is no space left to write /home/user/Nestbox.')
    expect(document.querySelector('input[name="copy-name"]')).not.toBeNull()
  })

  it('makes a template, which cannot start, and a machine from it', async () => {
    const machine = api.add('base', { state: 'saved' })
    await open()
    await choose('makeTemplate')
    await click('[data-action="copy"]')
    expect(api.machineMap.get(machine.id)?.isTemplate).toBe(true)
    expect(document.querySelector('[data-action="resume"]')).toBeNull()
    await click('[data-action="new-from-template"]')
    await click('.wizard [data-action="next"]')
    expect(document.querySelector('input[name="cloud-user"]')).toBeNull()
    await fill('.wizard input[name="machine-name"]', 'one')
    await click('.wizard [data-action="next"]')
    expect(api.sources).toEqual([{ kind: 'template', templateId: machine.id, withState: true, linked: true }])
  })

  it('gives a machine that boots from a template its user and keys', async () => {
    const machine = api.add('base', { isTemplate: true })
    await open()
    await click('[data-action="new-from-template"]')
    await click('.wizard [data-action="next"]')
    await fill('input[name="cloud-user"]', 'Not A User')
    expect(document.querySelector<HTMLButtonElement>('.wizard [data-action="next"]')?.disabled).toBe(true)
    await fill('input[name="cloud-user"]', 'ada')
    await fill('textarea[name="cloud-keys"]', 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 ada@host')
    await click('.wizard [data-action="next"]')
    expect(api.sources).toEqual([{
      kind: 'template', templateId: machine.id, withState: false, linked: true, cloudInit: { user: 'ada', sshKeys: ['ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 ada@host'] },
    }])
  })

  it('exports to a file that is suggested, and imports with what could not be taken over', async () => {
    api.folders.set('/home/user', { path: '/home/user', parent: '/home', isCut: false, entries: [] })
    api.add('web')
    const wrapper = await open()
    await choose('export')
    expect(document.querySelector<HTMLInputElement>('input[name="export-path"]')?.value).toBe('/home/user/web.nestbox')
    await click('[data-action="export"].el-button--primary')
    expect(api.calls).toContain('export /home/user/web.nestbox nestbox snapshots')
    await press('i', { ctrlKey: true })
    await fill('input[name="import-path"]', '/tmp/a.ova')
    await click('[data-action="import"].el-button--primary')
    expect(api.calls).toContain('import /tmp/a.ova')
    expect(body()).toContain('The sound card was left out.')
    expect(wrapper.find('[data-machine="imported"]').exists()).toBe(true)
  })
})

describe('choosing a file', () => {
  const value = (name: string): string | undefined => document.querySelector<HTMLInputElement>(`input[name="${name}"]`)?.value

  it('takes the answer of the desktop’s dialog', async () => {
    api.picked = '/boot/vmlinuz'
    api.add('web')
    await open()
    await press('i', { ctrlKey: true })
    await click('[data-action="browse-import-path"]')
    expect(value('import-path')).toBe('/boot/vmlinuz')
  })

  it('offers folders of the manager’s computer where there is none', async () => {
    api.folders.set('/home/user', {
      path: '/home/user', parent: '/home', isCut: false,
      entries: [{ name: 'vms', path: '/home/user/vms', isFolder: true }, { name: 'notes.txt', path: '/home/user/notes.txt', isFolder: false, bytes: 3 }],
    })
    api.folders.set('/home/user/vms', { path: '/home/user/vms', parent: '/home/user', isCut: false, entries: [{ name: 'a.ova', path: '/home/user/vms/a.ova', isFolder: false, bytes: 3 }] })
    api.add('web')
    await open()
    await press('i', { ctrlKey: true })
    await click('[data-action="browse-import-path"]')
    expect(document.querySelector('[data-file="notes.txt"]')).toBeNull()
    const list = document.querySelector('.file-dialog [role="listbox"]')
    if (!list) throw new Error('no list')
    await press('Enter', {}, list)
    await press('ArrowDown', {}, list)
    await press('Enter', {}, list)
    await vi.waitFor(() => expect(value('import-path')).toBe('/home/user/vms/a.ova'))
  })
})
