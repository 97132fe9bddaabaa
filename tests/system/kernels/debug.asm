; Debug registers, single step, RF, the shadows of STI and MOV SS, HLT. Every #DB is logged and the program goes on.
; SDM vol. 3, chapter 18; 6.8.3.
%include "protected.inc"
%include "pit.inc"
%define OWN_RESTORE
BUFFER equ 0x20000
%macro STEP_SOME 0
  in al, 0xed
  xor eax, eax
  fninit
  clts
  sgdt [BUFFER]
  mov ecx, cr0
  mov cr0, ecx
%endmacro
START
main:
  ENTER32
  mov eax, cr4
  or eax, 0x208 ; DE, OSFXSR
  mov cr4, eax
  mov dword [flagmask], ~0x10000
  call execution
  call registers
  call steps
  call shadows
  jmp exit32

bits 32
restore:
  push eax
  xor eax, eax
  mov dr7, eax
  mov eax, 0xffff0ff0
  mov dr6, eax
  mov byte [keepgoing], 0
  mov al, 0x20
  out 0x20, al
  mov ax, DATA0
  mov ds, ax
  mov es, ax
  mov eax, cr0
  and eax, ~0x40000
  mov cr0, eax
  pop eax
  ret

; From here every exception is logged and returned from, until the software interrupt of DONE.
%macro WATCH 3 ; register number, address, R/W and LEN as in DR7
  mov eax, %2
  mov dr%1, eax
  mov eax, dr7
  or eax, (2 << (%1 * 2)) | ((%3) << (16 + %1 * 4))
  mov dr7, eax
  mov byte [keepgoing], 1
%endmacro
X equ 0
W4 equ 1 | 12

; A fault before the instruction: the handler sets RF to go on.
execution:
  TEST "instruction"
  mov byte [withrf], 1
  WATCH 0, .here, X
  nop
.here:
  inc eax
  nop
  DONE
  TEST "two at once, one enabled"
  mov byte [withrf], 1
  mov eax, .both
  mov dr1, eax
  WATCH 3, .both, X
.both:
  nop
  DONE
  TEST "not enabled"
  mov eax, .off
  mov dr0, eax
  nop
.off:
  nop
  DONE
  TEST "second byte of an instruction"
  WATCH 0, .second + 1, X
.second:
  mov eax, 0x12345678
  DONE
  TEST "in ring 3"
  mov byte [withrf], 1
  WATCH 2, .user, X
  USER
  nop
.user:
  nop
  DONE
  TEST "prefix counts as the first byte"
  mov byte [withrf], 1
  WATCH 0, .prefixed, X
.prefixed:
  lock inc dword [BUFFER]
  DONE
  TEST "before a fault of the instruction"
  mov byte [withrf], 1
  WATCH 0, .faults, X
  USER
.faults:
  hlt
  DONE
  mov byte [withrf], 0
  ret

registers:
  TEST "DR4 without DE is DR6"
  mov eax, cr4
  and eax, ~8
  mov cr4, eax
  mov eax, 0xffff0ff0
  mov dr6, eax
  mov eax, dr4
  mov ebx, dr5
  DONE
  TEST "DR4 with DE"
  mov eax, cr4
  or eax, 8
  mov cr4, eax
  mov eax, dr4
  DONE
  SDM "values that stay", "r=ffff0ff0,ffff0ff0,ffffefff,00000400,00000400,d1d1d1d1,b9b9b9b9", "18.2.3, 18.2.4"
  xor eax, eax
  mov dr6, eax
  mov ebx, dr6
  mov eax, 0xffffffff
  mov dr6, eax
  mov ecx, dr6
  mov eax, 0x0000dc00
  mov dr7, eax
  mov edx, dr7
  xor eax, eax
  mov dr7, eax
  mov esi, dr7
  mov eax, 0xffff0ff0
  mov dr6, eax
  DONE
  SDM "general detect", "v=01 dr6=ffff2ff0 r=00002000,b0b0b0b0,c0c0c0c0,d0d0d0d0,51515151,d1d1d1d1,b9b9b9b9", "18.2.4"
  mov eax, 0x2000
  mov dr7, eax
  mov eax, dr0
  mov ebx, dr7
  DONE
  TEST "from ring 3"
  USER
  mov eax, dr0
  DONE
  SDM "int1", "v=01 e=00000000 at=0008:", "vol. 2 INT1"
  int1
  DONE
  SDM "int1 from ring 3", "v=01 e=00000000 at=001b:", "vol. 2 INT1"
  USER
  int1
  DONE
  ret

%macro TRAPPED 1 ; what runs with TF set from its first instruction on
  mov byte [keepgoing], 1
  push dword 0x102
  popfd
  %1
  push dword 2
  popfd
%endmacro

steps:
  TEST "steps"
  TRAPPED {inc eax}
  DONE
  TEST "taken branch"
  mov byte [keepgoing], 1
  push dword 0x102
  popfd
  jmp .target
  nop
.target:
  push dword 2
  popfd
  DONE
  TEST "repeated string"
  mov edi, BUFFER
  mov ecx, 3
  TRAPPED {rep stosb}
  DONE
  TEST "software interrupt clears TF"
  SET_GATE IDT_AT + 0x40 * 8, CODE0, .handler, 0xee, 0
  TRAPPED {int 0x40}
  DONE
  TEST "pushf shows TF"
  mov byte [keepgoing], 1
  push dword 0x102
  popfd
  pushfd
  pop eax
  push dword 2
  popfd
  DONE
  TEST "call gate keeps TF"
  SET_GATE gdt + GATE, CODE0, .gate, 0xec, 0
  TRAPPED {call GATE:0}
  DONE
  TEST "popfd that clears TF"
  mov byte [keepgoing], 1
  push dword 2
  push dword 0x102
  popfd
  popfd
  nop
  DONE
  TEST "fault while stepping"
  SET_GATE IDT_AT + 0x06 * 8, CODE0, .skip, 0x8e, 0
  TRAPPED ud2
  DONE
  mov eax, stubs + 6 * 16
  mov [IDT_AT + 6 * 8], ax
  TEST "iret to a stepped program"
  mov byte [keepgoing], 1
  push dword 0x102
  push dword CODE0
  push dword .stepped
  iretd
.stepped:
  nop
  push dword 2
  popfd
  DONE
  mov byte [withrf], 0
  TEST "slow instructions step as others do"
  TRAPPED {STEP_SOME}
  DONE
  ret
.handler:
  iretd
.gate:
  retf
.skip:
  add dword [esp], 2
  iretd

; Interrupts and traps wait for one instruction after STI, MOV SS and POP SS. The timer is ready when they come.
shadows:
  call pit
  TEST "sti"
  mov byte [IDT_AT + 0x20 * 8 + 5], 0x8e
  call wait_pit
  xor ebx, ebx
  sti
  inc ebx
  inc ebx
  cli
  DONE
  TEST "sti, cli"
  call pit
  call wait_pit
  sti
  cli
  nop
  mov al, 0x20
  out 0x20, al
  DONE
  TEST "hlt wakes"
  call pit
  sti
  hlt
  inc ebx
  cli
  DONE
  TEST "mov ss holds interrupts off"
  call pit
  call wait_pit
  mov ecx, ss
  xor ebx, ebx
  push dword 0x202
  mov ss, ecx
  popfd
  inc ebx
  cli
  DONE
  call no_pit
  TEST "mov ss holds the step off"
  mov byte [keepgoing], 1
  mov ecx, ss
  push dword 0x102
  popfd
  mov ss, ecx
  nop
  nop
  push dword 2
  popfd
  DONE
  ret

PIT_CODE

PROTECTED_CODE
