// Runs an exported .ts file on an image of zeros and prints the shape and sum of its output.
//
// T=$(python -c "import torch, os; print(os.path.dirname(torch.__file__))")
// g++ -std=c++17 -I$T/include -I$T/include/torch/csrc/api/include docs/examples/run_torchscript.cpp -o run_torchscript \
//   -L$T/lib -Wl,-rpath,$T/lib -ltorch -ltorch_cpu -lc10
// ./run_torchscript model.ts 1 3 64 64
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/serialization/import.h>

#include <cstdlib>
#include <iostream>
#include <vector>

int main(int argc, char** argv) {
  if (argc < 3) {
    std::cerr << "usage: run_torchscript FILE BATCH CHANNELS SIZE...\n";
    return 2;
  }
  std::vector<int64_t> shape;
  for (int i = 2; i < argc; ++i) shape.push_back(std::atoll(argv[i]));
  try {
    auto network = torch::jit::load(argv[1]);
    network.eval();
    at::Tensor output = network.forward({at::zeros(shape)}).toTensor();
    std::cout << output.sizes() << " " << output.sum().item<double>() << "\n";
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << "\n";
    return 1;
  }
}
