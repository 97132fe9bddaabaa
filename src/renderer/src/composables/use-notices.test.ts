import { mount, type VueWrapper } from '@vue/test-utils'
import { ElNotification } from 'element-plus'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { defineComponent, h, nextTick } from 'vue'
import { createMessages } from '../locales'
import { useNotices, type Notices } from './use-notices'

let notices: Notices
let page: VueWrapper

beforeEach(() => {
  vi.useFakeTimers()
  page = mount(defineComponent({
    setup() {
      notices = useNotices()
      return () => h('i')
    },
  }), { global: { plugins: [createMessages('en')] } })
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

  it('is gone, and its action done, with the button', async () => {
    const run = vi.fn()
    notices.success('Moved to the trash', { label: 'Undo', run })
    await nextTick()
    document.querySelector<HTMLElement>('.notice-action')!.click()
    await wait(1)
    expect([run.mock.calls.length, isThere()]).toEqual([1, false])
  })
})
