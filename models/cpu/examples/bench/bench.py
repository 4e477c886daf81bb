"""Times networks in ONNX Runtime (and PyTorch, where it is asked for) and in `bench` beside it, in turn.

    python bench.py BENCH_BINARY MODEL.onnx... [--set avx2] [--threads 1] [--batches 1,4,16] [--rounds 7]

Prints, for each network and batch, the median of the pairs' ratios of CPU time (of time, with several threads): below 1 is
faster than ONNX Runtime. Checks results first. Folded batch norms are expected, as exporters write them.
"""
import argparse, os, statistics, subprocess, sys, tempfile, time
import numpy as np, onnx
from onnx import numpy_helper


def attributes(node):
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def write_text(model, path):
    """The network as lines that `text.rs` reads, activations and sums fused as a pass over the graph would."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            constants[node.output[0]] = numpy_helper.to_array(attributes(node)["value"])
    nodes, floats, lines = [], [], []
    for node in graph.node:
        a, out = attributes(node), node.output[0]
        ins = list(node.input)
        if node.op_type == "Identity":
            if ins[0] in constants: constants[out] = constants[ins[0]]; continue
        n = dict(kind=node.op_type, ins=[i for i in ins if i], out=out, a=a, act=None)
        nodes.append(n)
    nodes = [n for n in nodes if n["kind"] != "Constant"]
    outputs = [o.name for o in graph.output]

    def uses(name): return sum(n["ins"].count(name) for n in nodes) + outputs.count(name)
    def maker(name): return next((n for n in nodes if n["out"] == name), None)
    # x * sigmoid(x) and x * hard-sigmoid(x) are one function.
    for n in list(nodes):
        if n["kind"] == "Mul":
            for x, s in (n["ins"], n["ins"][::-1]):
                m = maker(s)
                if m and m["kind"] in ("Sigmoid", "HardSigmoid") and m["ins"][0] == x and uses(s) == 1:
                    n["kind"], n["ins"] = {"Sigmoid": "Silu", "HardSigmoid": "HardSwish"}[m["kind"]], [x]
                    nodes.remove(m); break
    activation = {"Relu": lambda n: "relu", "Sigmoid": lambda n: "sigmoid", "Silu": lambda n: "silu", "HardSwish": lambda n: "hardswish",
                  "Tanh": lambda n: "tanh", "LeakyRelu": lambda n: f"leaky:{n['a'].get('alpha', .01)}", "Elu": lambda n: f"elu:{n['a'].get('alpha', 1.0)}",
                  "HardSigmoid": lambda n: f"hardsigmoid:{n['a'].get('alpha', .2)}:{n['a'].get('beta', .5)}", "Gelu": lambda n: "gelu",
                  "Clip": lambda n: "clip:" + ":".join(str(float(constants[i])) for i in n["ins"][1:])}
    position = {n["out"]: i for i, n in enumerate(nodes)}
    for n in list(nodes):
        if n["kind"] == "Add" and all(i not in constants for i in n["ins"]):
            late = max(n["ins"], key=lambda i: position.get(i, -1)); other = n["ins"][1 - n["ins"].index(late)]
            m = maker(late)
            if m and m["kind"] == "Conv" and m["act"] is None and uses(late) == 1 and other != late and len(m["ins"]) < 4:
                m["res"], m["out"] = other, n["out"]; m["ins"].append(other); nodes.remove(n); position[n["out"]] = position[late]
        elif n["kind"] in activation:
            m = maker(n["ins"][0])
            if m and m["kind"] in ("Conv", "Gemm") and m["act"] is None and uses(n["ins"][0]) == 1:
                m["act"], m["out"] = activation[n["kind"]](n), n["out"]; nodes.remove(n); position[n["out"]] = position[n["ins"][0]]
    at, known = 0, {}
    def constant(name, transform=lambda x: x):
        nonlocal at
        if name not in known:
            data = np.ascontiguousarray(transform(constants[name]), dtype="<f4")
            lines.append(f"const name={name} shape={','.join(map(str, data.shape))} at={at}")
            floats.append(data.ravel()); at += data.size; known[name] = name
        return name
    item = [d.dim_value for d in graph.input[0].type.tensor_type.shape.dim][1:]
    lines.append(f"input name={graph.input[0].name} shape={','.join(map(str, item))}")
    pair = lambda v: ",".join(map(str, v))
    def window(a):
        p = a.get("pads", [0] * 4); k = a["kernel_shape"]
        return f"k={pair(k)} s={pair(a.get('strides', [1, 1]))} d={pair(a.get('dilations', [1, 1]))} before={pair(p[:2])} after={pair(p[2:])}"
    for n in nodes:
        a, act = n["a"], f" act={n['act']}" if n["act"] else ""
        k, x = n["kind"], n["ins"][0]
        if k == "Conv":
            w = constant(n["ins"][1]); b = f" b={constant(n['ins'][2])}" if len(n["ins"]) > 2 and n["ins"][2] in constants else ""
            res = f",{n['res']}" if "res" in n else ""
            a.setdefault("kernel_shape", constants[w].shape[2:])
            lines.append(f"conv out={n['out']} in={x}{res} w={w}{b} {window(a)} g={a.get('group', 1)}{act}")
        elif k == "Gemm":
            w = constant(n["ins"][1], (lambda m: m.T) if a.get("transB") else (lambda m: m)); lines.append(f"linear out={n['out']} in={x} w={w} b={constant(n['ins'][2])}{act}")
        elif k in activation: lines.append(f"act out={n['out']} in={x} act={activation[k](n)}")
        elif k == "MaxPool": lines.append(f"maxpool out={n['out']} in={x} {window(a)}")
        elif k == "AveragePool": lines.append(f"avgpool out={n['out']} in={x} {window(a)}")
        elif k == "GlobalAveragePool": lines.append(f"globalavg out={n['out']} in={x}")
        elif k == "ReduceMean": lines.append(f"mean out={n['out']} in={x} axes={pair([i % 4 for i in (a.get('axes') or constants[n['ins'][1]].tolist())])} keep={a.get('keepdims', 1)}")
        elif k in ("Add", "Mul"):
            for i in n["ins"]:
                if i in constants: constant(i)
            lines.append(f"{k.lower()} out={n['out']} in={','.join(n['ins'])}")
        elif k == "Concat": lines.append(f"concat out={n['out']} in={','.join(n['ins'])} axis={a['axis']}")
        elif k == "Flatten" or k == "Reshape": lines.append(f"flatten out={n['out']} in={x}")
        else: raise SystemExit(f"no text for {k}")
    lines.append(f"output name={outputs[0]}")
    open(path, "w").write("\n".join(lines).replace("/", "_") + "\n")
    np.concatenate(floats).tofile(path + ".bin")


class Bench:
    def __init__(self, binary):
        self.process = subprocess.Popen([binary], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    def ask(self, line):
        self.process.stdin.write(line + "\n"); self.process.stdin.flush(); answer = self.process.stdout.readline().strip()
        if answer.startswith("error") or not answer: raise SystemExit(f"{line}: {answer}")
        return answer


def main():
    p = argparse.ArgumentParser(); p.add_argument("binary"); p.add_argument("models", nargs="+"); p.add_argument("--set", default="auto")
    p.add_argument("--threads", type=int, default=1); p.add_argument("--batches", default="1,4,16"); p.add_argument("--rounds", type=int, default=7); p.add_argument("--seconds", type=float, default=.3)
    p.add_argument("--check", action="store_true")
    o = p.parse_args()
    import onnxruntime as ort
    bench = Bench(o.binary); batches = [int(b) for b in o.batches.split(",")]
    for path in o.models:
        model = onnx.load(path); name = os.path.basename(path)[:-5]
        folder = tempfile.mkdtemp(); text = f"{folder}/{name}"; write_text(model, text)
        load = bench.ask(f"load {name} {text} {o.set} {o.threads} {max(batches)}")
        options = ort.SessionOptions(); options.intra_op_num_threads = o.threads; options.inter_op_num_threads = 1
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"]); feed = session.get_inputs()[0]
        item = [d for d in feed.shape[1:]]
        print(f"{name}: prepared in {float(load.split()[0]):.2f} s, {int(load.split()[1]) / 2**20:.0f} MiB", flush=True)
        for batch in batches:
            x = np.random.default_rng(batch).normal(size=[batch] + item).astype("f4"); x.tofile(f"{folder}/x")
            bench.ask(f"check {name} {batch} {folder}/x {folder}/y")
            want = session.run(None, {feed.name: x})[0]; got = np.fromfile(f"{folder}/y", "<f4").reshape(want.shape)
            error = np.abs(got - want).max() / np.abs(want).max()
            if o.check: print(f"  batch {batch}: error {error:.1e}", flush=True); continue
            clock = time.process_time if o.threads == 1 else time.perf_counter
            def theirs(runs):
                begin = clock()
                for _ in range(runs): session.run(None, {feed.name: x})
                return (clock() - begin) / runs
            runs = max(1, int(o.seconds / max(theirs(2), 1e-6))); pairs = []
            for _ in range(o.rounds):
                t = theirs(runs); wall, cpu = map(float, bench.ask(f"time {name} {batch} {runs}").split())
                pairs.append((cpu if o.threads == 1 else wall, t))
            ratio = statistics.median(a / b for a, b in pairs)
            print(f"  batch {batch}: {ratio:.2f} (ours {statistics.median(a for a, _ in pairs) * 1e3:.3f} ms, ONNX Runtime {statistics.median(b for _, b in pairs) * 1e3:.3f} ms), error {error:.1e}", flush=True)


main()
