"""Whole networks, one file a family."""

from __future__ import annotations

from medmamba_monai.networks.nets.cams_net import CAMSNet
from medmamba_monai.networks.nets.composed_unet import ComposedUNet
from medmamba_monai.networks.nets.efficient_vmamba import EfficientVMamba
from medmamba_monai.networks.nets.fd_vision_mamba import FDVisionMamba
from medmamba_monai.networks.nets.fusion_mamba import FusionMamba
from medmamba_monai.networks.nets.gat_mamba import GATMamba
from medmamba_monai.networks.nets.gfe_mamba import GFEGenerator, GFEMamba
from medmamba_monai.networks.nets.h_vmunet import HVMUNet
from medmamba_monai.networks.nets.hc_mamba import HCMamba
from medmamba_monai.networks.nets.hmt_unet import HMTUNet
from medmamba_monai.networks.nets.i2i_mamba import I2IMamba
from medmamba_monai.networks.nets.lightm_unet import LightMUNet
from medmamba_monai.networks.nets.lkm_unet import LKMUNet
from medmamba_monai.networks.nets.local_mamba import LocalVim, LocalVMamba
from medmamba_monai.networks.nets.mamba_dfuse import MambaDFuse
from medmamba_monai.networks.nets.mamba_mim import HyMamba, MambaMIM
from medmamba_monai.networks.nets.mamba_nd import MambaND
from medmamba_monai.networks.nets.mamba_unet import MambaUNet
from medmamba_monai.networks.nets.mambair import MambaIR, MambaIRUNet
from medmamba_monai.networks.nets.mambair_v2 import MambaIRv2
from medmamba_monai.networks.nets.mambamil import S4MIL, MambaMIL, MamMIL
from medmamba_monai.networks.nets.mambamir import MambaMIR
from medmamba_monai.networks.nets.mambamorph import MambaMorph, VMambaMorph
from medmamba_monai.networks.nets.mambarecon import MambaRecon
from medmamba_monai.networks.nets.md_dose import MDDose
from medmamba_monai.networks.nets.medmamba import MedMamba
from medmamba_monai.networks.nets.mhs_vm import MHSVM
from medmamba_monai.networks.nets.microscopic_mamba import MicroscopicMamba
from medmamba_monai.networks.nets.motion_tracker import MotionHistoryTracker
from medmamba_monai.networks.nets.msvm_unet import MSVMUNet
from medmamba_monai.networks.nets.mucm_net import MUCMNet
from medmamba_monai.networks.nets.nnmamba import NnMamba, NnMambaClassifier
from medmamba_monai.networks.nets.p_mamba import PMamba
from medmamba_monai.networks.nets.plain_mamba import PlainMamba
from medmamba_monai.networks.nets.segmamba import SegMamba
from medmamba_monai.networks.nets.slice_mamba import SliceMamba
from medmamba_monai.networks.nets.swin_umamba import SwinUMamba, SwinUMambaD
from medmamba_monai.networks.nets.tmamba import TMamba
from medmamba_monai.networks.nets.tp_mamba import TPMamba
from medmamba_monai.networks.nets.ultralight_vm_unet import UltraLightVMUNet
from medmamba_monai.networks.nets.umamba import UMamba
from medmamba_monai.networks.nets.uvm_net import UVMNet
from medmamba_monai.networks.nets.vim import Vim
from medmamba_monai.networks.nets.vim4path import Vim4Path
from medmamba_monai.networks.nets.vim_unet import ViMUNet
from medmamba_monai.networks.nets.vivim import Vivim
from medmamba_monai.networks.nets.vm_ddpm import VMDDPM
from medmamba_monai.networks.nets.vm_unet import VMUNet
from medmamba_monai.networks.nets.vm_unet_v2 import VMUNetV2
from medmamba_monai.networks.nets.vmamba import VMamba
from medmamba_monai.networks.nets.vmambair import VmambaIR
from medmamba_monai.networks.nets.vmrnn import VMRNN

__all__ = [
    "CAMSNet",
    "ComposedUNet",
    "EfficientVMamba",
    "FDVisionMamba",
    "GFEGenerator",
    "GFEMamba",
    "HCMamba",
    "HMTUNet",
    "HVMUNet",
    "HyMamba",
    "I2IMamba",
    "LightMUNet",
    "LKMUNet",
    "LocalVMamba",
    "LocalVim",
    "MambaDFuse",
    "MambaND",
    "MambaIR",
    "MambaIRUNet",
    "MambaIRv2",
    "FusionMamba",
    "GATMamba",
    "MambaMIL",
    "MambaMIM",
    "MambaMIR",
    "MambaRecon",
    "MambaMorph",
    "MambaUNet",
    "MDDose",
    "MamMIL",
    "MSVMUNet",
    "MHSVM",
    "MedMamba",
    "MicroscopicMamba",
    "NnMamba",
    "NnMambaClassifier",
    "PlainMamba",
    "S4MIL",
    "SegMamba",
    "MotionHistoryTracker",
    "MUCMNet",
    "PMamba",
    "SliceMamba",
    "SwinUMamba",
    "SwinUMambaD",
    "TMamba",
    "TPMamba",
    "UMamba",
    "UltraLightVMUNet",
    "UVMNet",
    "ViMUNet",
    "Vim",
    "Vim4Path",
    "Vivim",
    "VMamba",
    "VmambaIR",
    "VMambaMorph",
    "VMRNN",
    "VMDDPM",
    "VMUNet",
    "VMUNetV2",
]
