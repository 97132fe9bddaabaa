import { flushPromises, mount, type VueWrapper } from '@vue/test-utils'
import { ElDialog } from 'element-plus'
import { createPinia } from 'pinia'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { followDialogKeys } from '../composables/dialog-keys'
import { createMessages } from '../locales'
import WorkDialog from './WorkDialog.vue'

let dialog: VueWrapper
let unfollow: () => void

beforeEach(async () => {
  unfollow = followDialogKeys()
  dialog = mount(WorkDialog, {
    props: { title: 'Take a snapshot', submitLabel: 'Take', action: 'take', isValid: true, work: () => Promise.resolve() },
    slots: { default: '<textarea name="notes"></textarea><input name="name" value="First" data-initial-focus>' },
    global: { plugins: [createPinia(), createMessages('en')] }, attachTo: document.body,
  })
  await flushPromises()
})

afterEach(() => {
  dialog.unmount()
  unfollow()
  document.body.innerHTML = ''
})

const field = (name: string): HTMLInputElement => document.querySelector<HTMLInputElement>(`[name="${name}"]`)!

describe('a dialog that opens', () => {
  it('has the focus in the field that is named before the next key can come, with its text chosen', () => {
    expect(document.activeElement).toBe(field('name'))
    expect([field('name').selectionStart, field('name').selectionEnd]).toEqual([0, 5])
  })

  it('never takes the focus back from who went on already', () => {
    field('notes').focus()
    dialog.findComponent(ElDialog).vm.$emit('opened')
    expect(document.activeElement).toBe(field('notes'))
  })

  it('is closed for its owner as soon as it begins to go', () => {
    dialog.findComponent(ElDialog).vm.$emit('close')
    expect(dialog.emitted('close')).toHaveLength(1)
  })
})
