"""The demo language model: a small LLaMA-architecture network in PyTorch.

RMSNorm before each block, rotary position embeddings on the two halves of each
head, grouped-query attention, SwiGLU, no biases, untied output head.
"""

from dataclasses import asdict, dataclass

import torch
from torch import nn
from torch.nn import functional as F


@dataclass
class Config:
    """Sizes of the model. All are counts of elements."""

    vocab_size: int = 1024
    hidden_size: int = 128
    intermediate_size: int = 384
    num_layers: int = 4
    num_heads: int = 8
    num_kv_heads: int = 4
    context: int = 512
    rope_theta: float = 10000.0
    norm_epsilon: float = 1e-5

    @property
    def head_size(self) -> int:
        return self.hidden_size // self.num_heads

    def as_dict(self) -> dict:
        return asdict(self)


class RmsNorm(nn.Module):
    """x / sqrt(mean(x^2) + epsilon) * weight over the last dimension."""

    def __init__(self, size: int, epsilon: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.epsilon = epsilon

    def forward(self, x):
        scale = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.epsilon)
        return x * scale * self.weight


def rotate_half(x):
    low, high = x.chunk(2, dim=-1)
    return torch.cat((-high, low), dim=-1)


class Attention(nn.Module):
    """Causal grouped-query attention; x is [batch, seq, hidden]."""

    def __init__(self, config: Config):
        super().__init__()
        self.heads = config.num_heads
        self.kv_heads = config.num_kv_heads
        self.head_size = config.head_size
        width = self.heads * self.head_size
        kv_width = self.kv_heads * self.head_size
        self.q_proj = nn.Linear(config.hidden_size, width, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, kv_width, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, kv_width, bias=False)
        self.o_proj = nn.Linear(width, config.hidden_size, bias=False)

    def forward(self, x, cos, sin):
        batch, seq, _ = x.shape

        def split(y, heads):
            return y.view(batch, seq, heads, self.head_size).transpose(1, 2)

        q = split(self.q_proj(x), self.heads)
        k = split(self.k_proj(x), self.kv_heads)
        v = split(self.v_proj(x), self.kv_heads)
        q = q * cos + rotate_half(q) * sin
        k = k * cos + rotate_half(k) * sin
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return self.o_proj(y.transpose(1, 2).reshape(batch, seq, -1))


class SwiGlu(nn.Module):
    """down(silu(gate(x)) * up(x))."""

    def __init__(self, config: Config):
        super().__init__()
        hidden, inner = config.hidden_size, config.intermediate_size
        self.gate_proj = nn.Linear(hidden, inner, bias=False)
        self.up_proj = nn.Linear(hidden, inner, bias=False)
        self.down_proj = nn.Linear(inner, hidden, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    def __init__(self, config: Config):
        super().__init__()
        self.input_norm = RmsNorm(config.hidden_size, config.norm_epsilon)
        self.attention = Attention(config)
        self.post_norm = RmsNorm(config.hidden_size, config.norm_epsilon)
        self.mlp = SwiGlu(config)

    def forward(self, x, cos, sin):
        x = x + self.attention(self.input_norm(x), cos, sin)
        return x + self.mlp(self.post_norm(x))


class DemoModel(nn.Module):
    """input_ids [batch, seq] int64 -> logits [batch, seq, vocab] f32."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.norm = RmsNorm(config.hidden_size, config.norm_epsilon)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        half = config.head_size // 2
        rate = config.rope_theta ** (-torch.arange(half, dtype=torch.float64) / half)
        angle = torch.arange(config.context, dtype=torch.float64)[:, None] * rate
        angle = torch.cat((angle, angle), dim=-1)
        self.register_buffer("cos", angle.cos().float(), persistent=False)
        self.register_buffer("sin", angle.sin().float(), persistent=False)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                residual = name.endswith(("o_proj.weight", "down_proj.weight"))
                std = 0.06 / ((2 * config.num_layers) ** 0.5 if residual else 1.0)
                nn.init.normal_(weight, std=std)

    def forward(self, input_ids):
        seq = input_ids.shape[1]
        x = self.embed(input_ids)
        cos, sin = self.cos[:seq], self.sin[:seq]
        for layer in self.layers:
            x = layer(x, cos, sin)
        return self.lm_head(self.norm(x))


def export_onnx(model: DemoModel, path: str) -> None:
    """Writes the model with its weights inside one ONNX file, batch and sequence dynamic."""
    model = model.eval()
    example = torch.zeros((2, 16), dtype=torch.int64)
    batch = torch.export.Dim("batch", min=1, max=1024)
    seq = torch.export.Dim("seq", min=2, max=model.config.context)
    program = torch.onnx.export(
        model,
        (example,),
        dynamo=True,
        input_names=["input_ids"],
        output_names=["logits"],
        dynamic_shapes={"input_ids": {0: batch, 1: seq}},
        verbose=False,
    )
    program.save(path, external_data=False)
