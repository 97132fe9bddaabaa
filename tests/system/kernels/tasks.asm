; Hardware task switch: JMP, CALL, gates, IRET; 16- and 32-bit TSS; what faults before and after the switch. SDM vol. 3, chapter 7.
%include "protected.inc"
%define OWN_RESTORE
%define OWN_REPORT
TSS32_AT equ 0x3000
TSS16_AT equ 0x3200
LDT_AT equ 0x3400
TASK_STACK equ 0x5800
TASK_STACK0 equ 0x5400

START
main:
  ENTER32
  call fresh
  call switches
  call refusals
  call new_task_faults
  call sixteen
  call returns
  jmp exit32

bits 32
; Everything back: descriptors available, TR, LDTR, TS, NT.
restore:
  call tss_reset
  call fresh
  xor eax, eax
  lldt ax
  mov fs, ax
  mov gs, ax
  mov ax, DATA0
  mov ds, ax
  mov es, ax
  xor eax, eax
  mov dr7, eax
  clts
  ret

report:
  xor edx, edx
  str dx
  FIELD " tr=", edx, 4
  sldt dx
  FIELD " ldt=", edx, 4
  mov edx, fs
  FIELD " fs=", edx, 4
  mov edx, gs
  FIELD " gs=", edx, 4
  mov edx, cr0
  FIELD " cr0=", edx, 8
  mov edx, dr7
  FIELD " dr7=", edx, 8
  FIELD " busy=", [gdt + TSS + 5], 2
  FIELD ",", [gdt + TSS_B + 5], 2
  FIELD ",", [gdt + TSS_C + 5], 2
  FIELD " link=", [TSS_AT], 4
  FIELD ",", [TSS32_AT], 4
  FIELD ",", [TSS16_AT], 4
  FIELD " was=", [TSS_AT + 0x20], 8
  mov edx, [TSS_AT + 0x24]
  and edx, ~0x108d5 ; RF and the arithmetic flags
  FIELD " ", edx, 8
  FIELD " ", [TSS_AT + 0x28], 8
  FIELD " ", [TSS_AT + 0x38], 8
  FIELD " ", [TSS_AT + 0x48], 8
  FIELD " ", [TSS_AT + 0x4c], 8
  FIELD " ", [TSS_AT + 0x5c], 8
  FIELD " ", [TSS_AT + 0x60], 8
  FIELD " b=", [TSS32_AT + 0x20], 8
  mov edx, [TSS32_AT + 0x24]
  and edx, ~0x108d5
  FIELD " ", edx, 8
  FIELD " c=", [TSS16_AT + 0x0e], 4
  mov dx, [TSS16_AT + 0x10]
  and edx, 0xffff & ~0x8d5
  FIELD " ", edx, 4
  ret

; Both tasks as they are before they ever ran, every descriptor available.
fresh:
  push edi
  push ecx
  push eax
  cld
  mov edi, TSS32_AT
  mov ecx, 0x500 / 4
  xor eax, eax
  rep stosd
  mov dword [TSS32_AT + 4], TASK_STACK0
  mov dword [TSS32_AT + 8], DATA0
  mov dword [TSS32_AT + 0x20], landing
  mov dword [TSS32_AT + 0x24], 0x2
  mov edi, TSS32_AT + 0x28
  mov eax, 0x11000001
  mov ecx, 8
.fill:
  stosd
  add eax, 0x11000001
  loop .fill
  mov dword [TSS32_AT + 0x38], TASK_STACK
  mov dword [TSS32_AT + 0x48], DATA0
  mov dword [TSS32_AT + 0x4c], CODE0
  mov dword [TSS32_AT + 0x50], DATA0
  mov dword [TSS32_AT + 0x54], DATA3
  mov dword [TSS32_AT + 0x58], DATA1
  mov dword [TSS32_AT + 0x5c], 0
  mov word [TSS32_AT + 0x66], 0x68
  mov word [TSS16_AT + 2], TASK_STACK0
  mov word [TSS16_AT + 4], DATA0
  mov word [TSS16_AT + 0x0e], landing16
  mov word [TSS16_AT + 0x10], 2
  mov edi, TSS16_AT + 0x12
  mov eax, 0x1101
  mov ecx, 8
.fill16:
  stosw
  add eax, 0x1101
  loop .fill16
  mov word [TSS16_AT + 0x1a], TASK_STACK
  mov word [TSS16_AT + 0x22], DATA0
  mov word [TSS16_AT + 0x24], CODE0
  mov word [TSS16_AT + 0x26], DATA16
  mov word [TSS16_AT + 0x28], DATA3
  SET_DESC TSS_B, TSS32_AT, 0x67, 0x89, 0
  SET_DESC TSS_C, TSS16_AT, 0x2b, 0x81, 0
  SET_DESC LDT, LDT_AT, 0xf, 0x82, 0
  mov dword [gdt + GATE], TSS_B << 16
  mov dword [gdt + GATE + 4], 0xe500
  mov dword [IDT_AT + 0x40 * 8], TSS_B << 16
  mov dword [IDT_AT + 0x40 * 8 + 4], 0xe500
  mov dword [IDT_AT + 0x41 * 8], TSS_C << 16
  mov dword [IDT_AT + 0x41 * 8 + 4], 0xe500
  pop eax
  pop ecx
  pop edi
  ret

landing:
  int 0x80
; A 16-bit TSS says nothing of the upper halves of the registers, and the manual neither.
small_state:
  movzx eax, ax
  movzx ebx, bx
  movzx ecx, cx
  movzx edx, dx
  movzx esi, si
  movzx edi, di
  movzx ebp, bp
  pop ebp
  movzx esp, sp
  push eax
  mov ax, DATA0
  mov ss, ax
  pop eax
  jmp ebp
landing16:
  call small_state
  int 0x80
back:
  mov eax, 0x77777777
  iretd
  mov ebx, 0x66666666 ; the task goes on here when it is entered again
  int 0x80

switches:
  TEST "jump"
  jmp TSS_B:0x12345678
  DONE
  TEST "call"
  call TSS_B:0
  DONE
  TEST "jump through a gate"
  jmp GATE:0
  DONE
  TEST "call through a gate"
  call GATE:0
  DONE
  TEST "interrupt through a gate"
  int 0x40
  DONE
  TEST "call from ring 3 through a gate"
  USER
  call GATE:0
  DONE
  TEST "call and return"
  mov dword [TSS32_AT + 0x20], back
  call TSS_B:0
  DONE
  TEST "interrupt and return"
  mov dword [TSS32_AT + 0x20], back
  int 0x40
  DONE
  TEST "interrupt from ring 3 and return"
  mov dword [TSS32_AT + 0x20], back
  USER
  int 0x40
  DONE
  TEST "twice: the task goes on after its IRET"
  mov dword [TSS32_AT + 0x20], back
  call TSS_B:0
  call TSS_B:0
  DONE
  TEST "fault through a task gate"
  mov dword [IDT_AT + 13 * 8], TSS_B << 16
  mov dword [IDT_AT + 13 * 8 + 4], 0x8500
  mov dword [TSS32_AT + 0x20], pop_error
  mov eax, SLOT_B
  mov ss, ax
  DONE
  call gp_gate
  TEST "fault in ring 3 through a 16-bit task"
  mov dword [IDT_AT + 13 * 8], TSS_C << 16
  mov dword [IDT_AT + 13 * 8 + 4], 0x8500
  mov word [TSS16_AT + 0x0e], pop_error16
  USER
  hlt
  DONE
  call gp_gate
  TEST "task in ring 3"
  mov dword [TSS32_AT + 0x4c], CODE3
  mov dword [TSS32_AT + 0x50], DATA3
  mov dword [TSS32_AT + 0x48], DATA3
  mov dword [TSS32_AT + 0x58], DATA3
  jmp TSS_B:0
  DONE
  TEST "task in virtual-8086 mode"
  mov dword [TSS32_AT + 0x24], 0x23002
  mov eax, landing_v86
  shr eax, 4
  mov [TSS32_AT + 0x4c], eax
  mov dword [TSS32_AT + 0x20], 0
  mov dword [TSS32_AT + 0x50], 0x555
  mov dword [TSS32_AT + 0x48], 0x1111
  mov dword [TSS32_AT + 0x54], 0x2222
  mov dword [TSS32_AT + 0x58], 0x3333
  mov dword [TSS32_AT + 0x5c], 0x4444
  mov dword [TSS32_AT + 0x38], 0x100
  jmp TSS_B:0
  DONE
  TEST "task with an LDT"
  SET_DESC SLOT_A, 0, 0xfffff, 0x93, 0xc
  mov eax, [gdt + SLOT_A]
  mov [LDT_AT + 8], eax
  mov eax, [gdt + SLOT_A + 4]
  mov [LDT_AT + 12], eax
  mov word [TSS32_AT + 0x60], LDT
  mov word [TSS32_AT + 0x5c], 12
  jmp TSS_B:0
  DONE
  TEST "local breakpoints go, global ones stay"
  mov eax, 0x355
  mov dr7, eax
  mov eax, 0xff
  mov dr7, eax
  jmp TSS_B:0
  DONE
  SDM "debug trap of the T bit", "v=01 e=00000000", "7.2.1, 18.3.1.5"
  mov byte [TSS32_AT + 0x64], 1
  jmp TSS_B:0
  DONE
  ret

gp_gate: ; the handler of #GP as it was
  mov eax, stubs + 13 * 16
  mov [IDT_AT + 13 * 8], ax
  mov word [IDT_AT + 13 * 8 + 2], CODE0
  mov word [IDT_AT + 13 * 8 + 4], 0x8e00
  shr eax, 16
  mov [IDT_AT + 13 * 8 + 6], ax
  ret
pop_error:
  pop eax
  int 0x80

pop_error16:
  pop ax
  call small_state
  int 0x80

refusals:
  TEST "busy"
  mov byte [gdt + TSS_B + 5], 0x8b
  jmp TSS_B:0
  DONE
  TEST "busy behind a gate"
  mov byte [gdt + TSS_B + 5], 0x8b
  call GATE:0
  DONE
  TEST "busy behind an interrupt"
  mov byte [gdt + TSS_B + 5], 0x8b
  int 0x40
  DONE
  TEST "itself"
  call TSS:0
  DONE
  TEST "not present"
  mov byte [gdt + TSS_B + 5], 0x09
  jmp TSS_B:0
  DONE
  TEST "gate not present"
  mov dword [gdt + GATE + 4], 0x6500
  call GATE:0
  DONE
  TEST "interrupt gate not present"
  mov dword [IDT_AT + 0x40 * 8 + 4], 0x6500
  int 0x40
  DONE
  TEST "short"
  mov word [gdt + TSS_B], 0x66
  jmp TSS_B:0
  DONE
  TEST "short 16-bit"
  mov word [gdt + TSS_C], 0x2a
  call TSS_C:0
  DONE
  TEST "short behind an interrupt"
  mov word [gdt + TSS_B], 0x66
  int 0x40
  DONE
  TEST "privilege of the descriptor"
  USER
  jmp TSS_B:0
  DONE
  TEST "RPL"
  jmp (TSS_B | 3):0
  DONE
  TEST "privilege of the gate"
  mov dword [gdt + GATE + 4], 0x8500
  USER
  jmp GATE:0
  DONE
  TEST "privilege of the interrupt gate"
  mov dword [IDT_AT + 0x40 * 8 + 4], 0x8500
  USER
  int 0x40
  DONE
  SDM "gate to an LDT selector", "v=0d e=00000084", "vol. 2 CALL, TASK-GATE"
  mov word [gdt + GATE + 2], TSS_B | 4
  call GATE:0
  DONE
  TEST "gate to a null selector"
  mov word [gdt + GATE + 2], 0
  call GATE:0
  DONE
  TEST "gate to code"
  mov word [gdt + GATE + 2], CODE0
  call GATE:0
  DONE
  TEST "interrupt gate to code"
  mov word [IDT_AT + 0x40 * 8 + 2], CODE0
  int 0x40
  DONE
  TEST "interrupt gate to a null selector"
  mov word [IDT_AT + 0x40 * 8 + 2], 0
  int 0x40
  DONE
  SDM "interrupt gate to an LDT selector", "v=0d e=00000084", "vol. 2 INT, TASK-GATE"
  mov word [IDT_AT + 0x40 * 8 + 2], TSS_B | 4
  int 0x40
  DONE
  ret

; A selector of the new task is bad: the fault belongs to the new task. It runs in ring 3, so that the fault finds a stack.
%macro BAD 4-5 ; name, result, offset in the TSS, selector, access byte of SLOT_A
  SDM %1, %2, "7.3, table 7-1"
%if %0 == 5
  SET_DESC SLOT_A, 0, 0xfffff, %5, 0xc
%endif
  call ring3_task
  mov dword [TSS32_AT + %3], %4
  jmp TSS_B:0
  DONE
%endmacro

ring3_task:
  mov dword [TSS32_AT + 0x4c], CODE3
  mov dword [TSS32_AT + 0x50], DATA3
  mov dword [TSS32_AT + 0x48], DATA3
  mov dword [TSS32_AT + 0x58], DATA3
  ret

new_task_faults:
  BAD "null SS", "v=0a e=00000000", 0x50, 0
  BAD "SS of code", "v=0a e=00000018", 0x50, CODE3
  BAD "SS of another ring", "v=0a e=00000010", 0x50, DATA0
  BAD "SS beyond the table", "v=0a e=0000fff8", 0x50, 0xfffb
  BAD "SS read-only", "v=0a e=00000040", 0x50, SLOT_A | 3, 0xf1
  BAD "SS not present", "v=0c e=00000040", 0x50, SLOT_A | 3, 0x73
  BAD "null CS", "v=0a e=00000000", 0x4c, 3
  BAD "CS of data", "v=0a e=00000020", 0x4c, DATA3
  BAD "CS of another ring", "v=0a e=00000008", 0x4c, CODE0 | 3
  BAD "CS beyond the table", "v=0a e=0000fff8", 0x4c, 0xfffb
  BAD "CS not present", "v=0b e=00000040", 0x4c, SLOT_A | 3, 0x7b
  BAD "conforming CS", "v=80 e=00000000", 0x4c, SLOT_A | 3, 0x9f
  BAD "conforming CS of an outer ring", "v=0a e=00000040", 0x4c, SLOT_A | 2, 0xff
  BAD "DS of a TSS", "v=0a e=00000038", 0x54, TSS
  BAD "DS beyond the table", "v=0a e=00007ff8", 0x54, 0x7ff8
  BAD "DS execute-only", "v=0a e=00000040", 0x54, SLOT_A | 3, 0xf9
  BAD "ES above its privilege", "v=0a e=00000010", 0x48, DATA0
  BAD "GS not present", "v=0b e=00000040", 0x5c, SLOT_A | 3, 0x73
  BAD "LDT that is none", "v=0a e=00000010", 0x60, DATA0
  BAD "LDT in an LDT", "v=0a e=00000054", 0x60, LDT | 4
  BAD "LDT beyond the table", "v=0a e=0000fff8", 0x60, 0xfff8
  SDM "EIP beyond the limit", "v=0d e=00000000", "7.3, table 7-1"
  SET_DESC SLOT_A, 0, 0xfff, 0xfb, 0x4
  call ring3_task
  mov dword [TSS32_AT + 0x4c], SLOT_A | 3
  jmp TSS_B:0
  DONE
  SDM "LDT not present", "v=0a e=00000050", "7.3, table 7-1"
  call ring3_task
  mov dword [TSS32_AT + 0x60], LDT
  mov byte [gdt + LDT + 5], 2
  jmp TSS_B:0
  DONE
  ret

sixteen:
  TEST "jump to a 16-bit task"
  jmp TSS_C:0
  DONE
  TEST "call to a 16-bit task"
  call TSS_C:0
  DONE
  TEST "call to a 16-bit task and return"
  mov word [TSS16_AT + 0x0e], back
  call TSS_C:0
  DONE
  TEST "interrupt by a 16-bit task"
  int 0x41
  DONE
  TEST "16-bit task calls a 32-bit one and goes on"
  mov word [TSS16_AT + 0x0e], onward
  mov dword [TSS32_AT + 0x20], back
  jmp TSS_C:0
  DONE
  TEST "16-bit task jumps"
  mov word [TSS16_AT + 0x0e], onward_jump
  jmp TSS_C:0
  DONE
  ret

onward:
  mov ecx, 0x87654321
  call TSS_B:0
  call small_state
  int 0x80
onward_jump:
  jmp TSS_B:0

; IRET with NT set.
%macro LINK 2
  TEST %1
  mov word [TSS_AT], %2
  pushfd
  or word [esp], 0x4000
  popfd
  iretd
  DONE
%endmacro

returns:
  mov byte [gdt + TSS_B + 5], 0x8b
  LINK "return to a null link", 0
  LINK "return to an available task", TSS_B
  LINK "return to code", CODE0
  LINK "return beyond the table", 0xfff8
  LINK "return to an LDT selector", TSS_B | 4
  TEST "return to a busy task"
  mov byte [gdt + TSS_B + 5], 0x8b
  mov word [TSS_AT], TSS_B
  pushfd
  or word [esp], 0x4000
  popfd
  iretd
  DONE
  TEST "return to a busy task that is not present"
  mov byte [gdt + TSS_B + 5], 0x0b
  mov word [TSS_AT], TSS_B
  pushfd
  or word [esp], 0x4000
  popfd
  iretd
  DONE
  TEST "return from ring 3 with NT"
  mov byte [gdt + TSS_B + 5], 0x8b
  mov word [TSS_AT], TSS_B
  USER
  pushfd
  or word [esp], 0x4000
  popfd
  iretd
  DONE
  ret

align 16
landing_v86:
bits 16
  int 0x80
bits 32
PROTECTED_CODE
