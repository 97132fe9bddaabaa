import { describe, expect, it } from 'vitest'
import { ApiError } from '../api/errors'
import { api, body, click, eachWithFreshApp, open, press } from '../testing/mounted-app'

eachWithFreshApp()

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
    expect(document.querySelector<HTMLButtonElement>('[data-disk="bad.img"] [data-action="disk-convert"]')?.disabled).toBe(true)
    await click('[data-action="disk-check"]')
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
