import { describe, expect, it, vi } from 'vitest'
import { ApiError } from '../api/errors'
import { api, body, click, eachWithFreshApp, fill, find, open, press } from '../testing/mounted-app'

eachWithFreshApp()

const TOP = '[data-disk="top.qcow2"]'
/** The last that was asked: one before it may be fading away. */
const question = (): string => [...document.querySelectorAll('.el-message-box')].at(-1)?.textContent ?? ''
const agree = (): Promise<void> => click('.el-message-box__btns .el-button--primary')

async function choose(action: string): Promise<void> {
  await click(`${TOP} [data-action="disk-menu"]`)
  await click(`[role="menuitem"][data-action="${action}"]`)
}

/** @param problem of the top layer @param isBaseMissing its base cannot be read */
async function openWith(problem?: string, isBaseMissing = false): Promise<void> {
  const machine = api.add('web')
  api.diskList = [{
    path: '/d/top.qcow2', usedBy: [{ machineId: machine.id, name: 'web', readOnly: false }],
    layers: [
      { path: '/d/top.qcow2', format: 'qcow2', sizeBytes: 1 << 30, ...(problem ? { problem } : {}) },
      isBaseMissing ? { path: '/d/base.qcow2', problem: '/d/base.qcow2 is missing.' } : { path: '/d/base.qcow2', format: 'qcow2' },
    ],
  }]
  await open()
  await press('d', { ctrlKey: true })
}

describe('disks', () => {
  it('shows chains with what is wrong, makes disks and copies', async () => {
    api.folders.set('/home/user', { path: '/home/user', parent: '/home', isCut: false, entries: [] })
    const machine = api.add('web')
    api.diskList = [{
      path: '/d/top.qcow2', usedBy: [{ machineId: machine.id, name: 'web', readOnly: false }],
      layers: [{ path: '/d/top.qcow2', format: 'qcow2', sizeBytes: 1 << 30, storedBytes: 5 << 20 }, { path: '/d/base.img', format: 'raw', storedBytes: 64 << 20 }],
    }, { path: '/d/bad.img', usedBy: [], layers: [{ path: '/d/bad.img', problem: '/d/bad.img is missing.' }] }]
    await open()
    await press('d', { ctrlKey: true })
    expect(document.querySelectorAll('[data-disk="top.qcow2"] .layer')).toHaveLength(2)
    expect(body()).toContain('1 GiB for the guest')
    expect(body()).toContain('2 disks, 69 MiB on this computer')
    expect(body()).toContain('/d/bad.img is missing.')
    expect(find<HTMLButtonElement>('[data-disk="bad.img"] [data-action="disk-menu"]').disabled).toBe(true)
    await choose('disk-check')
    expect(body()).toContain('top.qcow2 has no errors')
    await click('[data-action="disk-new"]')
    await click('[data-action="disk-make"]')
    expect(api.calls).toContain(`createDisk /home/user/disk.qcow2 qcow2 ${8 * 2 ** 30}`)
  })

  it('says why they cannot be listed', async () => {
    api.add('web')
    api.failures.set('disks', new ApiError('internal', 'The library is gone.'))
    await open()
    await press('d', { ctrlKey: true })
    expect(body()).toContain('The library is gone.')
  })
})

describe('looking after a disk', () => {
  it('offers to repair what a check finds, after it was agreed to', async () => {
    await openWith()
    api.diskFaults = { corruptions: 1, wastedBytes: 0, problems: ['cluster 5 is counted 0 times and used once'] }
    await choose('disk-check')
    expect(body()).toContain('top.qcow2: 1 error')
    expect(body()).toContain('cluster 5 is counted 0 times')
    await click('.notice-action')
    expect(question()).toContain('cannot be undone')
    expect(api.calls).not.toContain('repairDisk /d/top.qcow2')
    await agree()
    expect(api.calls).toContain('repairDisk /d/top.qcow2')
    expect(body()).toContain('top.qcow2 is in order again')
  })

  it('makes a file smaller and says by how much', async () => {
    await openWith()
    await choose('disk-compact')
    expect(question()).toContain('cancelling changes nothing')
    await agree()
    expect(api.calls).toContain('compactDisk /d/top.qcow2')
    expect(body()).toContain('top.qcow2 takes 4 MiB less')
  })

  /** @param gib what is typed as the new size */
  async function resizeTo(gib: string): Promise<void> {
    await choose('disk-resize')
    await fill('.el-message-box__input input', gib)
    await agree()
  }

  it('makes a disk larger at once', async () => {
    await openWith()
    await resizeTo('2.5')
    expect(api.calls).toContain(`resizeDisk /d/top.qcow2 ${2.5 * 2 ** 30}`)
    expect(body()).toContain('top.qcow2 has 2.5 GiB now')
  })

  it('makes a disk smaller once it was agreed to, with what is lost, from where on, and whose it is', async () => {
    await openWith()
    await resizeTo('0.25')
    for (const text of ['Cut 768 MiB off top.qcow2?', 'Everything past 256 MiB is lost', 'The disk is that of web.']) expect(question()).toContain(text)
    await click('.question-dangerous .question-safe')
    expect(api.calls.join()).not.toContain('resizeDisk')
    await resizeTo('0.25')
    await click('.question-dangerous:last-child .el-button--danger')
    expect(api.calls).toContain(`resizeDisk /d/top.qcow2 ${2 ** 28} shrink`)
  })

  it.each(['0', '-1', '1', '100000', 'x'])('takes no size that cannot be: %s', async (gib) => {
    await openWith()
    await resizeTo(gib)
    expect(question()).toContain('at most 65,536 GiB')
    expect(api.calls.join()).not.toContain('resizeDisk')
  })

  it('shows work in progress in the row, with a way to cancel it', async () => {
    await openWith()
    api.emitTask({ id: 't1', kind: 'disk.compact', subject: 'top.qcow2', state: 'running', progress: 0.25, cancellable: true })
    await vi.waitFor(() => expect(find(TOP).textContent).toContain('25%'))
    expect(document.querySelector(`${TOP} [data-action="disk-menu"]`)).toBeNull()
    await click('[data-action="disk-cancel"]')
    expect(api.taskMap.get('t1')?.state).toBe('cancelled')
    await vi.waitFor(() => expect(document.querySelector(`${TOP} [data-action="disk-menu"]`)).not.toBeNull())
  })
})

describe('a base that is not where it was', () => {
  it('is located, and taken at once where it is the same', async () => {
    await openWith(undefined, true)
    api.picked = '/new/base.qcow2'
    await click('[data-action="disk-locate"]')
    expect(api.calls).toContain('rebaseDisk /d/top.qcow2 /new/base.qcow2')
    expect(body()).toContain('top.qcow2 lies over /new/base.qcow2')
  })

  it.each([['--primary', true], [':not(.el-button--primary)', false]])('is taken only when it was agreed to where it is another one (%s)', async (button, isTaken) => {
    await openWith(undefined, true)
    api.picked = '/new/other.qcow2'
    api.failures.set('rebaseDisk /d/top.qcow2 /new/other.qcow2', new ApiError('bad-disk', 'It had 5 bytes and has 6.', { change: 'x' }))
    await click('[data-action="disk-locate"]')
    expect(question()).toContain('It had 5 bytes and has 6.')
    await click(`.el-message-box__btns .el-button${button}`)
    expect(api.calls.includes('rebaseDisk /d/top.qcow2 /new/other.qcow2 accept')).toBe(isTaken)
  })

  it('is taken as it is now where it was changed in its place', async () => {
    await openWith('/d/base.qcow2 was changed since: it had 5 bytes and has 6.')
    await click('[data-action="disk-accept"]')
    expect(question()).toContain('it had 5 bytes and has 6')
    await agree()
    expect(api.calls).toContain('rebaseDisk /d/top.qcow2 same accept')
  })
})
