#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""
Usage: litmus.py FILE...

Can what a litmus test of two threads says never be? Try all orders in which two
accesses of a thread change places unless they are to the same variable or a barrier
between them forbids it. That allows all that the memory model of the kernel allows to
two threads which do not read what they have written themselves, and more: no
dependency keeps an order here. Each barrier is also left out, to see what needs it.

herd7 -conf linux-kernel.cfg, from tools/memory-model, reads the same files.
"""

import re
import sys

BARRIERS = {"smp_mb": ("RW", "RW"), "smp_rmb": ("R", "R"), "smp_wmb": ("W", "W")}


class Op:
    """An access, or a barrier: what it reads or writes, what it keeps in order"""

    def __init__(self, text):
        self.text = text
        self.register = self.value = None
        text = text.replace(" ", "")
        name, args = re.fullmatch(r"(?:\w+=)?(\w+)\((.*)\)", text).groups()
        if "=" in text.split("(")[0]:
            self.register = text.split("=")[0]
        args = args.replace("*", "").split(",")
        self.variable = args[0]
        if name in BARRIERS:
            self.kind = ""
            self.orders = BARRIERS[name]
        elif name in ("READ_ONCE", "smp_load_acquire"):
            self.kind = "R"
            self.orders = ("", "RW") if "acquire" in name else None
        elif name in ("WRITE_ONCE", "smp_store_release"):
            self.kind = "W"
            self.value = int(args[1])
            self.orders = ("RW", "") if "release" in name else None
        elif name in ("spin_lock", "spin_unlock"):
            self.kind = "RW"
            self.value = int(name == "spin_lock")
            self.orders = ("", "RW") if self.value else ("RW", "")
        else:
            sys.exit(f"what is {name}()?")


def keeps_order(ops, first, second, without):
    """Does ops[first] come before ops[second], which is after it in the program?"""
    a, b = ops[first], ops[second]
    if a.kind and b.kind and a.variable == b.variable:
        return True
    for i in range(first, second + 1):
        if ops[i] is without or not ops[i].orders:
            continue
        before, after = ops[i].orders
        if (i == first or set(a.kind) & set(before)) and \
           (i == second or set(b.kind) & set(after)):
            return True
    return False


def outcomes(threads, initial, without):
    """All final values of registers and variables"""
    needed = [[[i for i in range(j) if keeps_order(ops, i, j, without)]
               for j in range(len(ops))] for ops in threads]
    start = (tuple(0 for _ in threads), tuple(sorted(initial.items())))
    todo, seen, final = [start], {start}, []
    while todo:
        done, values = todo.pop()
        ended = True
        for t, ops in enumerate(threads):
            for i, op in enumerate(ops):
                if done[t] >> i & 1:
                    continue
                ended = False
                if any(not done[t] >> k & 1 for k in needed[t][i]):
                    continue
                after = dict(values)
                if op.kind == "RW" and op.value and after.get(op.variable):
                    continue
                if op.register:
                    after[f"{t}:{op.register}"] = after.get(op.variable, 0)
                if op.value is not None:
                    after[op.variable] = op.value
                state = (tuple(d | (k == t) << i for k, d in enumerate(done)),
                         tuple(sorted(after.items())))
                if state not in seen:
                    seen.add(state)
                    todo.append(state)
        if ended:
            final.append(dict(values))
    return final


def read(name):
    """The threads, the values at first, and the condition as a function of values"""
    with open(name, encoding="utf-8") as file:
        text = re.sub(r"\(\*\s.*?\*\)", "", file.read(), flags=re.S)
    initial = {v: int(n) for v, n in re.findall(r"(\w+)=(\d+);", text[:text.index("P0")])}
    threads = [[Op(s) for s in re.findall(r"\w[^;]*\)(?=;)", body)]
               for body in re.findall(r"^P\d+\(.*?\)\n\{(.*?)^\}", text, flags=re.S | re.M)]
    exists = text[text.index("exists") + len("exists"):].strip()
    exists = re.sub(r"(\d+:\w+)=(\d+:\w+|\d+)",
                    lambda m: f"v['{m[1]}']==" + (f"v['{m[2]}']" if ":" in m[2] else m[2]),
                    exists).replace("/\\", "and").replace("\\/", "or")
    # pylint: disable-next=eval-used
    return threads, initial, lambda v: eval(exists, {"v": v})


def main():
    """0 if none is possible, and each would be if it were not for a barrier"""
    failed = 0
    for name in sys.argv[1:]:
        threads, initial, exists = read(name)
        final = outcomes(threads, initial, None)
        possible = any(exists(values) for values in final)
        needed = [f"P{t} {op.text}" for t, ops in enumerate(threads) for op in ops
                  if op.orders and any(map(exists, outcomes(threads, initial, op)))]
        print(f"{name}: {'POSSIBLE' if possible else 'never'} in {len(final)} outcomes; "
              f"needed are {', '.join(needed) or 'no barriers'}")
        failed += possible or not needed
    print(f"{len(sys.argv) - 1} litmus tests, {failed} failed")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
