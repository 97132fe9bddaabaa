import { flushPromises, mount, type VueWrapper } from '@vue/test-utils'
import { createPinia } from 'pinia'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { setApi } from '../api/current'
import { ApiError } from '../api/errors'
import { FakeApi } from '../api/fake-api'
import type { HotBlock } from '../api/types'
import { createMessages } from '../locales'
import HotBlocks from './HotBlocks.vue'

const block = (address: string, ns: number, tier = 2): HotBlock => ({
  address, modeKey: 22, mode: 'long-64', ring: 0, tier, samples: 3, ns, lines: [{ address, bytes: '48 89 d8', text: 'mov rax,rbx' }],
})

let api: FakeApi
let wrapper: VueWrapper | undefined

beforeEach(() => {
  vi.useFakeTimers()
  api = new FakeApi()
  setApi(api)
})

afterEach(() => {
  wrapper?.unmount()
  vi.useRealTimers()
})

async function open(): Promise<VueWrapper> {
  const machine = api.add('web', { state: 'running' })
  wrapper = mount(HotBlocks, { props: { machine, labelOf: (name: string) => name }, global: { plugins: [createPinia(), createMessages('en')] }, attachTo: document.body })
  await flushPromises()
  return wrapper
}

describe('hottest guest code', () => {
  it('lists blocks with their share and instructions, and follows them', async () => {
    api.blocks = [block('0xffffffff81000123', 750), block('0x401000', 250, 0)]
    const tab = await open()
    expect(tab.findAll('details').map((row) => row.find('summary').text().replace(/\s+/g, ' '))).toEqual([
      '0xffffffff81000123long-64, ring0t275%', '0x401000long-64, ring0t025%',
    ])
    expect(tab.find('[data-block="0x401000"] table').text()).toContain('mov rax,rbx')
    api.blocks = []
    await vi.advanceTimersByTimeAsync(2_500)
    expect(tab.text()).toContain('No samples yet')
  })

  it('shows the WebAssembly of a block on request, or that it is interpreted', async () => {
    api.blocks = [block('0x401000', 1)]
    const tab = await open()
    const button = tab.find('button')
    expect(button.attributes('aria-label')).toBe('Show the WebAssembly of the block at 0x401000')
    await button.trigger('click')
    await flushPromises()
    expect(tab.text()).toContain('The block is interpreted now.')
    api.wasm = 'local.get 0'
    await button.trigger('click')
    await flushPromises()
    expect(tab.find('pre').text()).toBe('local.get 0')
    expect(tab.find('pre').attributes('tabindex')).toBe('0')
  })

  it('says why there is nothing, and recovers', async () => {
    api.hotBlocks = () => Promise.reject(new ApiError('wrong-state', 'the machine cannot be inspected: it is stopped'))
    const tab = await open()
    expect(tab.find('[role="status"]').text()).toContain('it is stopped')
  })
})
