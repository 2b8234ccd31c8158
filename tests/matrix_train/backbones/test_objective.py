"""Flow matching: noised latents, the target, how timesteps are drawn."""

import torch
from diffusers import UniPCMultistepScheduler

from matrix_train.backbones.objective import Flow, shifted
from matrix_train.backbones.wan22.model import FirstFrameGiven

SCHEDULER = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0)


def test_the_output_that_leads_back_to_the_clean_latents_has_no_error() -> None:
    generator = torch.Generator().manual_seed(0)
    clean, noise = (torch.randn(2, 3, 4, 2, 2, generator=generator) for _ in range(2))
    timesteps = torch.tensor([250.0, 1000.0])
    flow = Flow(SCHEDULER)
    noised = flow.noised(clean, noise, timesteps)
    sigma = (timesteps / 1000).view(-1, 1, 1, 1, 1)
    torch.testing.assert_close(noised[1], noise[1])
    velocity = noise - clean
    torch.testing.assert_close(noised - sigma * velocity, clean)
    assert flow.error(velocity, noised, clean, noise, timesteps).abs().max() == 0
    assert flow.error(velocity + 2.0, noised, clean, noise, timesteps).mean().item() == 4.0
    torch.testing.assert_close(flow.signal(timesteps), torch.tensor([0.9, 0.0]))
    assert flow.weight(timesteps).tolist() == [1.0, 1.0]


def test_one_step_of_diffusers_own_schedule_goes_along_that_velocity() -> None:
    """From pure noise to σ = t / 1000 of the next step, with the true velocity as the model's answer."""
    generator = torch.Generator().manual_seed(0)
    clean, noise = (torch.randn(1, 4, 3, 2, 2, generator=generator) for _ in range(2))
    scheduler = UniPCMultistepScheduler.from_config(SCHEDULER.config, solver_order=1)
    scheduler.set_timesteps(4)
    stepped = scheduler.step(noise - clean, scheduler.timesteps[0], noise).prev_sample
    want = Flow(SCHEDULER).noised(clean, noise, 1000 * scheduler.sigmas[1:2])
    torch.testing.assert_close(stepped, want, rtol=1e-4, atol=1e-4)


def test_timesteps_are_drawn_as_the_schedule_of_sampling_lies() -> None:
    scheduler = UniPCMultistepScheduler.from_config(SCHEDULER.config)
    scheduler.set_timesteps(10)
    even = torch.linspace(1, 0.001, 11)[:-1]
    torch.testing.assert_close(shifted(even, 3.0)[1:], scheduler.sigmas[1:-1])
    assert shifted(torch.tensor([0.0, 1.0]), 3.0).tolist() == [0.0, 1.0]


def test_a_first_frame_that_is_given_is_no_part_of_the_error() -> None:
    clean, noise = torch.zeros(1, 3, 4, 2, 2), torch.ones(1, 3, 4, 2, 2)
    output = noise.clone()
    output[:, 0] = 100.0
    error = FirstFrameGiven(SCHEDULER).error(output, clean, clean, noise, torch.tensor([500.0]))
    assert error.shape == (1, 2, 4, 2, 2)
    assert error.abs().max() == 0
