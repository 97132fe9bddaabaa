import { mount } from '@vue/test-utils'
import { ElInputNumber, ElSelect } from 'element-plus'
import { createPinia } from 'pinia'
import { describe, expect, it } from 'vitest'
import type { MachineSettings } from '../api/types'
import { createMessages } from '../locales'
import SettingsForm from './SettingsForm.vue'

function settings(): MachineSettings {
  return {
    name: 'web', group: '', tags: [], notes: '', memoryMiB: 512, cpuProfile: 'nestbox64', kernel: '/k', initrd: '', commandLine: '', onReset: 'reboot', maxTier: 2,
    disks: [{ path: '/d/a.img', format: 'raw', readOnly: false, queues: 2 }, { path: '/d/b.img', format: 'raw', readOnly: false, cache: 'unsafe' }],
  }
}

describe('disks in the settings', () => {
  it.each([['en', 'Request queues'], ['fr', 'Files de requêtes']] as const)('have request queues, of which the machine’s own choice is not written down (%s)', (language, label) => {
    const value = settings()
    const form = mount(SettingsForm, {
      global: { plugins: [createPinia(), createMessages(language)] },
      props: { modelValue: value, problems: { disks: [] }, showProblems: false, sections: ['disks'], groups: [], tags: [], cpuProfiles: [] },
    })
    const counts = form.findAllComponents(ElInputNumber).filter((field) => field.props('ariaLabel') === label)
    expect(counts.map((field) => [field.props('modelValue') as number | null, field.props('min'), field.props('max')])).toEqual([[2, 1, 8], [null, 1, 8]])
    counts[0].vm.$emit('update:modelValue', null)
    counts[1].vm.$emit('update:modelValue', 4)
    expect(value.disks.map((disk) => disk.queues)).toEqual([undefined, 4])
    expect(value.disks[0]).not.toHaveProperty('queues')
  })

  it.each([['en', 'Cache mode'], ['fr', 'Mode de cache']] as const)('have a cache mode, of which the usual one is not written down (%s)', (language, label) => {
    const value = settings()
    const form = mount(SettingsForm, {
      global: { plugins: [createPinia(), createMessages(language)] },
      props: { modelValue: value, problems: { disks: [] }, showProblems: false, sections: ['disks'], groups: [], tags: [], cpuProfiles: [] },
    })
    const modes = form.findAllComponents(ElSelect).filter((select) => select.props('ariaLabel') === label)
    expect(modes.map((select) => select.props('modelValue') as string)).toEqual(['writeback', 'unsafe'])
    modes[0].vm.$emit('update:modelValue', 'writethrough')
    modes[1].vm.$emit('update:modelValue', 'writeback')
    expect(value.disks).toEqual([
      { path: '/d/a.img', format: 'raw', readOnly: false, cache: 'writethrough', queues: 2 }, { path: '/d/b.img', format: 'raw', readOnly: false },
    ])
  })
})
