import { flushPromises } from '@vue/test-utils'
import { describe, expect, it } from 'vitest'
import { ApiError } from '../api/errors'
import { api, body, click, eachWithFreshApp, find, open } from '../testing/mounted-app'

eachWithFreshApp()

/** The first machine is being made until `end` is called. */
function startSlowly(): { end: (error: ApiError) => void } {
  let reject: (error: ApiError) => void = () => undefined
  api.create = () => new Promise((_resolve, fail) => {
    reject = fail
  })
  return { end: (error) => reject(error) }
}

describe('the first start', () => {
  it('shows what is being done, and can be cancelled without an error', async () => {
    const work = startSlowly()
    await open()
    await click('[data-action="quick-start"]')
    // Before and after the task its files are copied.
    expect(find('.working').textContent).toContain('Making the machine’s files')
    api.emitTask({ id: 't1', kind: 'image.starter', subject: '', state: 'running', progress: 0.4, detail: 'Downloading linux-image', cancellable: true })
    await flushPromises()
    expect(find('.working').textContent).toContain('Downloading linux-image')
    expect(find('.working').textContent).toContain('40%')
    await click('[data-action="cancel-quick-start"]')
    expect(api.taskMap.get('t1')?.state).toBe('cancelled')
    work.end(new ApiError('cancelled', 'The work was cancelled.'))
    await flushPromises()
    expect(document.querySelector('.error-note')).toBeNull()
    expect(find('[data-action="quick-start"]').textContent).toContain('Create and start')
  })

  it('keeps what went wrong in sight, what to do, and the way to try again', async () => {
    const work = startSlowly()
    await open()
    await click('[data-action="quick-start"]')
    work.end(new ApiError('download-failed', 'apt could not fetch its package lists'))
    await flushPromises()
    expect(find('.error-note').textContent).toContain('apt could not fetch its package lists')
    expect(find('.error-note').textContent).toContain('Check the network')
    expect(find('[data-action="quick-start"]').textContent).toContain('Try again')
  })

  it('offers what there is where the starter image cannot be made', async () => {
    api.imageList = [{ id: 'starter', name: 'Starter', description: '', ready: false, unavailable: 'there is no apt' }, { id: 'alpine', name: 'Alpine', description: '', ready: false }]
    await open()
    expect(body()).toContain('there is no apt')
    expect(document.querySelector('[data-action="quick-start"]')).toBeNull()
    await click('[data-action="choose-image"]')
    expect(find<HTMLInputElement>('input[name="source"]:checked').value).toBe('image')
  })
})

describe('the wizard', () => {
  it('says in its own window why a machine could not be made', async () => {
    await open()
    await click('[data-action="own"]')
    await click('[data-action="next"]')
    const fields: Record<string, string> = { kernel: '/boot/vmlinuz', 'machine-name': 'mine' }
    for (const [name, value] of Object.entries(fields)) {
      const field = find<HTMLInputElement>(`.wizard input[name="${name}"]`)
      field.value = value
      field.dispatchEvent(new Event('input', { bubbles: true }))
    }
    await flushPromises()
    api.failures.set('create', new ApiError('bad-kernel', '/boot/vmlinuz is cut short'))
    await click('.wizard [data-action="next"]')
    expect(find('.wizard .error-note').textContent).toContain('/boot/vmlinuz is cut short')
    expect(find<HTMLInputElement>('.wizard input[name="kernel"]').value).toBe('/boot/vmlinuz')
    await click('.wizard [data-action="next"]')
    expect([...api.machineMap.values()].map(({ name }) => name)).toEqual(['mine'])
  })
})
