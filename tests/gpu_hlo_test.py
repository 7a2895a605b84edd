"""The reader of compiled programs, on one whose numbers are counted by hand."""

from benchmarks import gpu_hlo

# A loop of seven turns over the rows of an array: a fusion reads one row, adds a vector
# and writes it in place, a grouped convolution follows; then another and a transpose.
PROGRAM = """\
HloModule jit_step

%fused (p0: f32[7,4], p1: s32[], p2: bf16[4]) -> (f32[7,4], bf16[4]) {
  %p0 = f32[7,4]{1,0} parameter(0)
  %p1 = s32[] parameter(1)
  %p2 = bf16[4]{0} parameter(2)
  %zero = s32[] constant(0)
  %row = f32[1,4]{1,0} dynamic-slice(%p0, %p1, %zero), dynamic_slice_sizes={1,4}
  %flat = f32[4]{0} bitcast(%row)
  %wide = f32[4]{0} convert(%p2)
  %sum = f32[4]{0} add(%flat, %wide)
  %new = f32[1,4]{1,0} bitcast(%sum)
  %all = f32[7,4]{1,0} dynamic-update-slice(%p0, %new, %p1, %zero)
  %low = bf16[4]{0} convert(%sum)
  ROOT %both = (f32[7,4]{1,0}, bf16[4]{0}) tuple(%all, %low)
}

%body (carried: (s32[], f32[7,4], bf16[4])) -> (s32[], f32[7,4], bf16[4]) {
  %carried = (s32[], f32[7,4]{1,0}, bf16[4]{0}) parameter(0)
  %i = s32[] get-tuple-element(%carried), index=0
  %rows = f32[7,4]{1,0} get-tuple-element(%carried), index=1
  %v = bf16[4]{0} get-tuple-element(%carried), index=2
  %done = (f32[7,4]{1,0}, bf16[4]{0}) fusion(%rows, %i, %v), kind=kLoop, calls=%fused
  %left = f32[7,4]{1,0} get-tuple-element(%done), index=0
  %right = bf16[4]{0} get-tuple-element(%done), index=1
  %product = bf16[4]{0} custom-call(%right, %left), feature_group_count=4
  ROOT %next = (s32[], f32[7,4]{1,0}, bf16[4]{0}) tuple(%i, %left, %product)
}

%condition (carried.1: (s32[], f32[7,4], bf16[4])) -> pred[] {
  %carried.1 = (s32[], f32[7,4]{1,0}, bf16[4]{0}) parameter(0)
  ROOT %on = pred[] constant(true)
}

ENTRY %main (x: (s32[], f32[7,4], bf16[4]), k: f32[3,3]) -> f32[4,7] {
  %x = (s32[], f32[7,4]{1,0}, bf16[4]{0}) parameter(0)
  %k = f32[3,3]{1,0} parameter(1)
  %loop = (s32[], f32[7,4]{1,0}, bf16[4]{0}) while(%x), condition=%condition, \
body=%body, backend_config={"known_trip_count":{"n":"7"}}
  %out = f32[7,4]{1,0} get-tuple-element(%loop), index=1
  %conv = f32[7,4]{1,0} custom-call(%out, %k), feature_group_count=2
  ROOT %turned = f32[4,7]{1,0} transpose(%conv), dimensions={1,0}
}
"""


def test_what_a_program_does_is_counted_as_often_as_it_happens():
    found = gpu_hlo.read(PROGRAM)
    row, vector, rows, index = 16, 8, 7 * 16, 4
    fusion = (row + index + vector) + (row + vector)
    product = (vector + rows) + vector
    after = (rows + 36 + rows) + 2 * rows
    assert found.moved == 7 * (fusion + product) + after
    assert found.kernels == 7 * 2 + 2
    assert found.in_loops == 7 * 2
    assert found.loops == ((7, 2),)
    assert found.grouped == 7 + 1
