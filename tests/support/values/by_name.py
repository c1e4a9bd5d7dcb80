"""The values of every kernel that computes, by name."""

from support.values import channels, depthwise, elements, graphs, integer, linear, products
from support.values.tile_values import KernelValues

VALUES: dict[str, KernelValues] = {
    kernel.name: kernel
    for family in (products, depthwise, linear, elements, channels, integer, graphs)
    for kernel in family.VALUES
}
