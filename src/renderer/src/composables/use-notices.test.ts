import { mount, type VueWrapper } from '@vue/test-utils'
import { ElNotification } from 'element-plus'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { defineComponent, h, nextTick } from 'vue'
import { ApiError } from '../api/errors'
import { createMessages } from '../locales'
import { useNotices, type Notices } from './use-notices'

let notices: Notices
let page: VueWrapper
let messages: ReturnType<typeof createMessages>

beforeEach(() => {
  vi.useFakeTimers()
  messages = createMessages('en')
  page = mount(defineComponent({
    setup() {
      notices = useNotices()
      return () => h('i')
    },
  }), { global: { plugins: [messages] } })
})

afterEach(() => {
  ElNotification.closeAll()
  page.unmount()
  vi.useRealTimers()
  document.body.innerHTML = ''
})

const toast = (): HTMLElement => document.querySelector<HTMLElement>('.notice')!
/** One that goes moves out for a moment. */
const isThere = (): boolean => document.querySelector('.notice:not([class*="leave"])') !== null && toast().style.display !== 'none'

async function wait(seconds: number): Promise<void> {
  vi.advanceTimersByTime(seconds * 1000)
  await nextTick()
  await nextTick()
}

describe('a toast', () => {
  it('goes by itself', async () => {
    notices.success('Moved to the trash', { label: 'Undo', run: vi.fn() })
    await wait(8)
    expect(isThere()).toBe(true)
    await wait(2)
    expect(isThere()).toBe(false)
  })

  it.each([['pointerenter', 'pointerleave'], ['focusin', 'focusout']])('stays while somebody is at it, from %s to %s', async (come, go) => {
    notices.success('Moved to the trash', { label: 'Undo', run: vi.fn() })
    await wait(8)
    toast().dispatchEvent(new Event(come))
    await wait(60)
    expect(isThere()).toBe(true)
    toast().dispatchEvent(new Event(go))
    await wait(8)
    expect(isThere()).toBe(true)
    await wait(2)
    expect(isThere()).toBe(false)
  })

  it('stays under the focus when the pointer leaves it', async () => {
    notices.success('Moved to the trash', { label: 'Undo', run: vi.fn() })
    await wait(1)
    for (const event of ['pointerenter', 'focusin', 'pointerleave']) toast().dispatchEvent(new Event(event))
    await wait(60)
    expect(isThere()).toBe(true)
  })

  it('that stays is closed by hand only', async () => {
    const close = notices.warning('No room', 'The disk of this computer is full.', undefined, true)
    await wait(600)
    expect(isThere()).toBe(true)
    close()
    await wait(1)
    expect(isThere()).toBe(false)
  })

  it('is said in the language that is chosen while it is shown', async () => {
    const { t } = messages.global
    notices.warning(() => t('notice.crashed', { name: 'web' }), () => t('disk.text'), { label: () => t('common.undo'), run: vi.fn() })
    await wait(1)
    expect(toast().textContent).toContain('Undo')
    messages.global.locale.value = 'fr'
    await wait(1)
    for (const key of ['disk.text', 'common.undo'] as const) expect(toast().textContent).toContain(t(key))
    expect(document.querySelector('.el-notification__title')?.textContent).toBe(t('notice.crashed', { name: 'web' }))
    expect(toast().textContent).not.toContain('Undo')
  })

  it('of an error too', async () => {
    notices.error(new ApiError('wrong-state', 'raw', undefined, { key: 'machine.already', values: { name: 'web', state: { key: 'state.running' } } }), 'web')
    await wait(1)
    expect(toast().textContent).toContain("The machine 'web' is running already.")
    messages.global.locale.value = 'fr'
    await wait(1)
    expect(toast().textContent).toMatch(/La machine «.web.» est déjà/)
    expect(document.querySelector('.el-notification__title')?.textContent).not.toContain('cannot')
  })

  it('is gone, and its action done, with the button', async () => {
    const run = vi.fn()
    notices.success('Moved to the trash', { label: 'Undo', run })
    await nextTick()
    document.querySelector<HTMLElement>('.notice-action')!.click()
    await wait(1)
    expect([run.mock.calls.length, isThere()]).toEqual([1, false])
  })
})
