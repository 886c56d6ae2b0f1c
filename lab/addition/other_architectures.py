"""Two other architectures of about the transformer's size, with other inductive biases: what is the
transformer for?

Both take token ids (B, T) and give logits of the next token (B, T, V), never look ahead, and tie
the head to the token embedding as the shared model does. Neither has positions: a recurrent network
counts, a convolution sees distances.
"""

import torch.nn as nn
import torch.nn.functional as F

from _checks import one_of, whole_number
from _common import VOCAB_SIZE, own_defaults


class _NextToken(nn.Module):
    """Embedding, a causal body (B, T, D) -> (B, T, D), a norm, and the tied head."""

    def __init__(self, d_model, max_seq_len, vocab_size=VOCAB_SIZE):
        super().__init__()
        self.vocab_size, self.max_seq_len = vocab_size, max_seq_len
        self.token_emb = nn.Embedding(vocab_size, d_model)
        self.ln_f = nn.LayerNorm(d_model)

    def forward(self, tokens):  # (B, T)
        if tokens.dim() != 2 or tokens.shape[1] > self.max_seq_len:
            raise ValueError(
                f"tokens must have the shape (batch, at most {self.max_seq_len}), not"
                f" {tuple(tokens.shape)}"
            )
        x = self.body(self.token_emb(tokens))  # (B, T, D)
        return self.ln_f(x) @ self.token_emb.weight.T  # (B, T, V)


class GRUAdder(_NextToken):
    """A gated recurrent unit (Cho et al., 2014): one state, updated token by token. 18,020
    parameters at D = 53."""

    def __init__(self, max_seq_len, d_model=53):
        super().__init__(d_model, max_seq_len)
        self.gru = nn.GRU(d_model, d_model, batch_first=True)

    def body(self, x):  # (B, T, D)
        return self.gru(x)[0]


class ConvolutionAdder(_NextToken):
    """Causal convolutions of width 3 with residual connections; dilations 1, 2, 4 see 15 tokens
    back, the whole sequence (as in WaveNet: van den Oord et al., 2016). 17,716 parameters at D =
    43."""

    def __init__(self, max_seq_len, d_model=43, dilations=(1, 2, 4)):
        super().__init__(d_model, max_seq_len)
        self.dilations = dilations
        self.norms = nn.ModuleList(nn.LayerNorm(d_model) for _ in dilations)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(d_model, d_model, 3, dilation=dilation) for dilation in dilations
        )

    def body(self, x):  # (B, T, D)
        for norm, convolution, dilation in zip(self.norms, self.convolutions, self.dilations):
            past = F.pad(norm(x).transpose(1, 2), (2 * dilation, 0))  # (B, D, T + 2 dilation)
            x = x + F.gelu(convolution(past)).transpose(1, 2)
        return x


@own_defaults()
def build(name, max_seq_len):
    """The untrained model by name: "gru" or "convolution". Raises ValueError for another."""
    max_seq_len = whole_number("max_seq_len", max_seq_len, 1)
    return (
        GRUAdder(max_seq_len)
        if one_of("architecture", name, ("gru", "convolution")) == "gru"
        else ConvolutionAdder(max_seq_len)
    )
