"""Adapter between the acoustic encoder and the teacher's feature space."""

from torch import Tensor, nn


class Adapter(nn.Module):
    """FC2 into the teacher's space; FC3 and two layer norms back.

    GM-OT (arXiv 2505.13079), Eq. 17: H_AL = H_enc + w_s LN(FC3(LN(H_A))), H_A = FC2(H_enc).

    ``scale``: w_s.
    """

    def __init__(self, d_model: int, d_teacher: int, scale: float):
        super().__init__()
        self.scale = scale
        self.fc2 = nn.Linear(d_model, d_teacher)
        self.norm_teacher = nn.LayerNorm(d_teacher)
        self.fc3 = nn.Linear(d_teacher, d_model)
        self.norm_model = nn.LayerNorm(d_model)

    def nodes(self, encoder_out: Tensor) -> Tensor:
        """Acoustic graph nodes, FC2 only: (N, T, d_model) -> (N, T, d_teacher)."""
        return self.fc2(encoder_out)

    def forward(self, encoder_out: Tensor) -> tuple[Tensor, Tensor]:
        """Input of the CTC head H_AL (N, T, d_model), and acoustic nodes H_A (N, T, d_teacher)."""
        nodes = self.nodes(encoder_out)
        back = self.norm_model(self.fc3(self.norm_teacher(nodes)))
        return encoder_out + self.scale * back, nodes
