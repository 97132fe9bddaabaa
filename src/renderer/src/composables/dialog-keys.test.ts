import { describe, expect, it } from 'vitest'
import { isDialogOpen } from './dialog-keys'

const overlay = (attributes: string): string => `<div class="el-overlay ${attributes}><div role="dialog"></div></div>`

describe('who has the keyboard', () => {
  it.each([
    ['the page, where there is no dialog', '', false],
    ['an open dialog', overlay('"'), true],
    ['a dialog that comes', overlay('dialog-fade-enter-active"'), true],
    ['the page, where a dialog was closed before', overlay('" style="display: none;"'), false],
    ['the page, where a question was answered that is still going', overlay('fade-in-linear-leave-active"'), false],
    ['the page, where a dialog is still going', overlay('dialog-fade-leave-active"'), false],
    ['the dialog under a question that was answered', overlay('"') + overlay('fade-in-linear-leave-active"'), true],
  ])('%s', (_whose, html, isOpen) => {
    document.body.innerHTML = html
    expect(isDialogOpen()).toBe(isOpen)
  })
})
