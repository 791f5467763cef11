"""Products with edges in the numba backend: register-tiled matrix products and recurrences.

Arrays are two-dimensional, rows padded with zeros to vectors of the processor.
"""

import math
from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

PLAIN: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
# Without nnan, ninf: infinities are used.
LOOPS: dict[str, Any] = {**PLAIN, "fastmath": {"reassoc", "contract", "nsz", "arcp", "afn"}}
# Bytes of a cache line, to which rows are padded.
LINE = 64

_features = llvmlite.binding.get_host_cpu_features()
_VECTOR = 64 if _features.get("avx512f") else 32 if _features.get("avx2") else 16
# A tile of ROWS x VECTORS sums stays in registers, of which there are 16 or 32.
_ROWS = 12 if _VECTOR == 64 or _features.get("neon") else 6
_VECTORS = 2


@intrinsic
def _tile(typing_context, rows, vectors, depth, arrays, starts, strides) -> Any:
    """out = left right for a tile whose sums stay in registers (compilers do not do it for loops).

    ``arrays``: left, right, out; ``starts``: offset of the tile in each; ``strides``: of rows.
    """
    signature = types.void(rows, vectors, depth, arrays, starts, strides)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        rows, vectors, depth, *others = arguments
        arrays, starts, strides = (cgutils.unpack_tuple(builder, x, 3) for x in others)
        kind = signature.args[3].dtype
        pointers = [
            builder.gep(context.make_array(kind)(context, builder, array).data, [start])
            for array, start in zip(arrays, starts)
        ]
        function = _tile_function(builder.module, pointers[0].type, depth.type)
        builder.call(function, [rows, vectors, depth, *pointers, *strides])
        return context.get_dummy_value()

    return signature, codegen


def _tile_function(module: ir.Module, pointer: ir.PointerType, whole: ir.IntType) -> ir.Function:
    """A switch over one code block per height and width; not inlined, to compile it once."""
    name = f"gmot_tile_{pointer.pointee}"
    if name in module.globals:
        return module.globals[name]
    kind = ir.FunctionType(ir.VoidType(), [whole] * 3 + [pointer] * 3 + [whole] * 3)
    function = ir.Function(module, kind, name)
    function.linkage = "linkonce_odr"
    function.attributes.add("noinline")
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    rows, vectors, depth, *others = function.args
    end = builder.append_basic_block("end")
    switch = builder.switch(builder.add(builder.mul(rows, whole(8)), vectors), end)
    for height in range(1, _ROWS + 1):
        for width in range(1, _VECTORS + 1):
            block = builder.append_basic_block("tile")
            switch.add_case(whole(8 * height + width), block)
            builder.position_at_end(block)
            _multiply(builder, height, width, depth, others[:3], others[3:])
            builder.branch(end)
    builder.position_at_end(end)
    builder.ret_void()
    return function


def _multiply(builder, height, width, depth, pointers, strides) -> None:
    """A loop over ``depth`` around height x width fused multiply-adds of vectors."""
    left, right, out = pointers
    whole, scalar = depth.type, left.type.pointee
    size = 4 if isinstance(scalar, ir.FloatType) else 8
    lanes = _VECTOR // size
    vector = ir.VectorType(scalar, lanes)
    zero, undefined = ir.Constant(vector, None), ir.Constant(vector, ir.Undefined)
    first, mask = ir.IntType(32)(0), ir.Constant(ir.VectorType(ir.IntType(32), lanes), None)

    def row(base, index, stride):
        return builder.gep(base, [builder.mul(stride, index)])

    def place(base, number):
        return builder.bitcast(builder.gep(base, [whole(number * lanes)]), vector.as_pointer())

    lefts = [row(left, whole(r), strides[0]) for r in range(height)]
    before, loop = builder.block, builder.append_basic_block("depth")
    builder.branch(loop)
    builder.position_at_end(loop)
    step = builder.phi(whole)
    sums = [[builder.phi(vector) for _ in range(width)] for _ in range(height)]
    source = row(right, step, strides[1])
    factors = [builder.load(place(source, v), align=size) for v in range(width)]
    step.add_incoming(whole(0), before)
    new = []
    for r in range(height):
        value = builder.load(builder.gep(lefts[r], [step]), align=size)
        value = builder.insert_element(undefined, value, first)
        value = builder.shuffle_vector(value, undefined, mask)
        for v in range(width):
            product = builder.fmul(value, factors[v], flags=("contract",))
            new.append(builder.fadd(sums[r][v], product, flags=("contract",)))
            sums[r][v].add_incoming(zero, before)
            sums[r][v].add_incoming(new[-1], loop)
    following = builder.add(step, whole(1))
    step.add_incoming(following, loop)
    done = builder.append_basic_block("store")
    builder.cbranch(builder.icmp_signed("<", following, depth), loop, done)
    builder.position_at_end(done)
    for r in range(height):
        target = row(out, whole(r), strides[2])
        for v in range(width):
            builder.store(new[r * width + v], place(target, v), align=size)


@njit(**PLAIN)
def matrix_product(left, right, out, rows, depth):
    """out (rows, W) = left (rows, depth) right (depth, width), width at least a vector's lanes.

    W may exceed width; columns beyond are not written.
    """
    lanes = _VECTOR // left.itemsize
    width = right.shape[1]
    tiles = (rows + _ROWS - 1) // _ROWS
    strides = left.shape[1], width, out.shape[1]
    column = 0
    while column < width:
        vectors = min(_VECTORS, (width - column) // lanes)
        if vectors == 0:  # less than a vector remains: some columns twice
            vectors, column = 1, width - lanes
        row = 0
        for tile in range(tiles):
            height = (rows - row + tiles - tile - 1) // (tiles - tile)
            starts = row * left.shape[1], column, row * out.shape[1] + column
            _tile(height, vectors, depth, (left, right, out), starts, strides)
            row += height
        column += vectors * lanes


@njit(**LOOPS)
def temporal_product(steps, x, out, count, sums):
    """out = S x, S_ij = exp(-|i - j| / steps), (count, W); ``sums``: (count + 1, W), scratch."""
    # A recurrence from each end; the row itself is in both.
    rate = x.dtype.type(math.exp(-1 / steps))
    for k in range(x.shape[1]):
        sums[count - 1, k], out[0, k] = 0, x[0, k]
    for i in range(count - 2, -1, -1):
        for k in range(x.shape[1]):
            sums[i, k] = rate * (sums[i + 1, k] + x[i + 1, k])
    for i in range(1, count):
        for k in range(x.shape[1]):
            out[i, k] = rate * out[i - 1, k] + x[i, k]
    for i in range(count):
        for k in range(x.shape[1]):
            out[i, k] += sums[i, k]


@njit(**PLAIN)
def transpose(x, out, rows, columns):
    """out (columns, .) = x (rows, .) transposed; the rest of its rows is not written."""
    for i in range(rows):
        for k in range(columns):
            out[k, i] = x[i, k]
