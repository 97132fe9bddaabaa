import { flushPromises, mount, type VueWrapper } from '@vue/test-utils'
import { ElDialog } from 'element-plus'
import { createPinia } from 'pinia'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createMessages } from '../locales'
import WorkDialog from './WorkDialog.vue'

let dialog: VueWrapper

beforeEach(async () => {
  dialog = mount(WorkDialog, {
    props: { title: 'Take a snapshot', submitLabel: 'Take', action: 'take', isValid: true, work: () => Promise.resolve() },
    slots: { default: '<input name="name"><textarea name="notes"></textarea>' }, global: { plugins: [createPinia(), createMessages('en')] }, attachTo: document.body,
  })
  await flushPromises()
})

afterEach(() => {
  dialog.unmount()
  document.body.innerHTML = ''
})

describe('a dialog that has opened', () => {
  const open = (): void => void dialog.findComponent(ElDialog).vm.$emit('opened')

  it('lets a field take the focus', () => {
    open()
    expect(dialog.emitted('opened')).toHaveLength(1)
  })

  it('leaves the focus to who types already', () => {
    document.querySelector('textarea')?.dispatchEvent(new Event('input', { bubbles: true }))
    open()
    expect(dialog.emitted('opened')).toBeUndefined()
  })
})
