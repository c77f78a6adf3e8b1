//===- FilesTest.cpp - Tests of safetensors and .npy files ----------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TestModel.h"
#include "ganq/runtime/npy.h"
#include <csignal>
#include <sys/resource.h>
#include <sys/stat.h>

using namespace ganq::runtime;
using namespace ganq::runtime::test;

static std::string withLength(const std::string &header,
                              const std::string &data = "") {
  std::string file;
  for (int i = 0; i < 8; ++i)
    file += char(header.size() >> (8 * i));
  return file + header + data;
}

/// The error of opening these bytes, or "" if they are accepted.
static std::string openError(const std::string &bytes) {
  TemporaryFolder folder;
  std::string path = folder / "file";
  writeFile(path, bytes);
  auto file = Safetensors::open(path);
  return file.ok() ? "" : file.status().message();
}

static void expectError(const std::string &bytes, const std::string &part) {
  std::string message = openError(bytes);
  EXPECT_NE(message.find(part), std::string::npos)
      << "in \"" << message << "\"";
  EXPECT_EQ(message.find('\n'), std::string::npos);
}

TEST(Safetensors, RoundTrip) {
  TemporaryFolder folder;
  std::string path = folder / "a.safetensors";
  std::vector<float> weights(32, 1.5f);
  SafetensorsWriter writer(path);
  ASSERT_TRUE(writer.declare("odd", DType::U8, {3}).ok());
  ASSERT_TRUE(writer.declare("w \"1\"", DType::F32, {2, 16}).ok());
  ASSERT_TRUE(writer.declare("empty", DType::I64, {0, 5}).ok());
  ASSERT_TRUE(writer.declare("scalar", DType::F64, {}).ok());
  ASSERT_TRUE(writer.setMetadata("key", "a\nb\x01").ok());
  ASSERT_TRUE(writer.begin().ok());
  double scalar = 0.25;
  ASSERT_TRUE(writer.append("scalar", &scalar, 8).ok());
  ASSERT_TRUE(writer.append("w \"1\"", weights.data(), 64).ok());
  ASSERT_TRUE(writer.append("odd", "xyz", 3).ok());
  ASSERT_TRUE(writer.append("w \"1\"", weights.data() + 16, 64).ok());
  EXPECT_EQ(access(path.c_str(), F_OK), -1);
  ASSERT_TRUE(writer.finish().ok());
  EXPECT_EQ(folder.files(), std::vector<std::string>{"a.safetensors"});

  auto file = Safetensors::open(path);
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_EQ((*file)->dataStart() % 4096, 0);
  EXPECT_EQ((*file)->metadata().at("key"), "a\nb\x01");
  EXPECT_EQ((*file)->tensors().size(), 4u);
  const TensorInfo *w = (*file)->find("w \"1\"");
  ASSERT_TRUE(w);
  EXPECT_EQ(w->offset % 64, 0);
  EXPECT_EQ(w->shape, (std::vector<int64_t>{2, 16}));
  EXPECT_EQ(memcmp((*file)->data(*w), weights.data(), 128), 0);
  EXPECT_EQ(memcmp((*file)->data(*(*file)->find("scalar")), &scalar, 8), 0);
  EXPECT_EQ((*file)->find("empty")->bytes, 0);
  EXPECT_EQ((*file)->find("missing"), nullptr);
  EXPECT_EQ((*file)->alignment(), 1);
}

TEST(Safetensors, RefusesBadHeaders) {
  expectError("", "at least 8 bytes");
  expectError("1234567", "at least 8 bytes");
  expectError(std::string(8, '\0'), "expected a JSON object");
  expectError(std::string(8, '\xff'), "header length of at most");
  expectError(withLength("{}").substr(0, 9), "header length of at most");
  expectError(withLength("[]"), "expected a JSON object");
  expectError(withLength(" {}"), "expected a JSON object");
  expectError(withLength("{"), "expected valid JSON");
  expectError(withLength("{}x"), "expected valid JSON");
  expectError(withLength(R"({"a":1e999})"), "expected valid JSON");
  expectError(withLength(R"({"a":1})"), "dtype, shape and data_offsets");
  expectError(withLength(R"({"__metadata__":[]})"), "__metadata__");
  expectError(withLength(R"({"__metadata__":{"a":1}})"), "expected a string");
  expectError(withLength("{\"a\":" + std::string(100000, '[')), "64 levels");
  EXPECT_EQ(openError(withLength("{}")), "");
  EXPECT_EQ(openError(withLength("{}   \n")), "");
  expectError(withLength("{}", "x"), "expected 0 bytes of data, but got 1");
}

TEST(Safetensors, RefusesBadTensors) {
  auto one = [](const std::string &dtype, const std::string &shape,
                const std::string &range, size_t bytes) {
    return withLength("{\"a\":{\"dtype\":" + dtype + ",\"shape\":" + shape +
                          ",\"data_offsets\":" + range + "}}",
                      std::string(bytes, 'x'));
  };
  EXPECT_EQ(openError(one("\"U8\"", "[4]", "[0,4]", 4)), "");
  EXPECT_EQ(openError(one("\"F32\"", "[]", "[0,4]", 4)), "");
  expectError(one("\"F33\"", "[4]", "[0,4]", 4), "known dtype");
  expectError(one("7", "[4]", "[0,4]", 4), "known dtype");
  expectError(one("\"U8\"", "[-4]", "[0,4]", 4), "non-negative integers");
  expectError(one("\"U8\"", "[4.0]", "[0,4]", 4), "non-negative integers");
  expectError(one("\"U8\"", "4", "[0,4]", 4), "non-negative integers");
  expectError(one("\"U8\"", "[4]", "[0]", 4), "data_offsets");
  expectError(one("\"U8\"", "[4]", "[4,0]", 4), "data_offsets");
  expectError(one("\"U8\"", "[5]", "[0,5]", 4), "data_offsets");
  expectError(one("\"U8\"", "[4]", "[0,18446744073709551615]", 4),
              "data_offsets");
  expectError(one("\"U8\"", "[3]", "[0,4]", 4), "to span");
  expectError(one("\"F16\"", "[4]", "[0,4]", 4), "to span");
  // Products that wrap to the right number.
  expectError(one("\"U8\"", "[4294967296,4294967296]", "[0,0]", 0), "to span");
  expectError(one("\"F64\"", "[2305843009213693952]", "[0,0]", 0), "to span");
  expectError(one("\"U8\"", "[4]", "[1,5]", 5), "without holes and overlaps");

  auto two = [](const std::string &second) {
    return withLength(
        R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)" + second +
            "}",
        std::string(8, 'x'));
  };
  EXPECT_EQ(
      openError(two(R"("b":{"dtype":"U8","shape":[4],"data_offsets":[4,8]})")),
      "");
  expectError(two(R"("b":{"dtype":"U8","shape":[5],"data_offsets":[3,8]})"),
              "without holes and overlaps");
  expectError(two(R"("b":{"dtype":"U8","shape":[3],"data_offsets":[5,8]})"),
              "without holes and overlaps");
  expectError(two(R"("a":{"dtype":"U8","shape":[4],"data_offsets":[4,8]})"),
              "stands twice");
}

TEST(Safetensors, RefusesWhatIsNoFile) {
  TemporaryFolder folder;
  EXPECT_NE(
      Safetensors::open(folder.path).status().message().find("a directory"),
      std::string::npos);
  ASSERT_EQ(mkfifo((folder / "pipe").c_str(), 0600), 0);
  EXPECT_NE(Safetensors::open(folder / "pipe")
                .status()
                .message()
                .find("a pipe or device"),
            std::string::npos);
  EXPECT_FALSE(Safetensors::open("/dev/zero").ok());
  EXPECT_EQ(Safetensors::open(folder / "none").status().code(),
            Code::InputOutput);
}

TEST(SafetensorsWriter, LeavesNothingBehindOnError) {
  TemporaryFolder folder;
  std::string path = folder / "a";
  {
    SafetensorsWriter writer(path);
    ASSERT_TRUE(writer.declare("a", DType::U8, {64}).ok());
    EXPECT_FALSE(writer.declare("a", DType::U8, {64}).ok());
    EXPECT_FALSE(writer.begin().ok()) << "an error stays";
  }
  {
    SafetensorsWriter writer(path);
    ASSERT_TRUE(writer.declare("a", DType::U8, {4}).ok());
    EXPECT_FALSE(writer.append("a", "x", 1).ok()) << "before begin";
  }
  {
    SafetensorsWriter writer(path);
    ASSERT_TRUE(writer.declare("a", DType::U8, {4}).ok());
    ASSERT_TRUE(writer.begin().ok());
    ASSERT_TRUE(writer.append("a", "xyz", 3).ok());
    EXPECT_FALSE(writer.finish().ok()) << "a byte is missing";
  }
  {
    SafetensorsWriter writer(path);
    ASSERT_TRUE(writer.declare("a", DType::U8, {4}).ok());
    ASSERT_TRUE(writer.begin().ok());
    EXPECT_FALSE(writer.append("a", "xyzuv", 5).ok()) << "too many";
  }
  {
    SafetensorsWriter writer(path);
    EXPECT_FALSE(writer.declare("a", DType::F32, {-1}).ok());
  }
  {
    SafetensorsWriter writer(path);
    ASSERT_TRUE(writer.declare("bad \xff name", DType::U8, {4}).ok());
    EXPECT_FALSE(writer.begin().ok());
  }
  EXPECT_TRUE(folder.files().empty());
  SafetensorsWriter nowhere(folder / "none/a");
  EXPECT_EQ(nowhere.begin().code(), Code::InputOutput);
}

TEST(SafetensorsWriter, ReportsFullDisk) {
  // A limit on the size of files stands for a full disk.
  TemporaryFolder folder;
  rlimit old;
  getrlimit(RLIMIT_FSIZE, &old);
  auto handler = signal(SIGXFSZ, SIG_IGN);
  rlimit limit = {1 << 16, old.rlim_max};
  setrlimit(RLIMIT_FSIZE, &limit);
  Status begun;
  {
    SafetensorsWriter writer(folder / "a");
    EXPECT_TRUE(writer.declare("a", DType::U8, {1 << 20}).ok());
    begun = writer.begin();
  }
  std::vector<float> data(1 << 16);
  Status npy = writeNpy(folder / "b.npy", DType::F32, {1 << 16}, data.data());
  setrlimit(RLIMIT_FSIZE, &old);
  signal(SIGXFSZ, handler);
  EXPECT_EQ(begun.code(), Code::InputOutput);
  EXPECT_EQ(npy.code(), Code::InputOutput);
  EXPECT_TRUE(folder.files().empty());
}

TEST(Npy, RoundTrip) {
  TemporaryFolder folder;
  std::string path = folder / "a.npy";
  std::string bytes(48, '\0');
  for (size_t i = 0; i < bytes.size(); ++i)
    bytes[i] = char(i * 37);
  for (DType dtype : {DType::Bool, DType::I8, DType::U8, DType::I16, DType::U16,
                      DType::I32, DType::U32, DType::I64, DType::U64,
                      DType::F16, DType::F32, DType::F64}) {
    std::vector<int64_t> shape = {2, 3, 8 / byteSize(dtype)};
    ASSERT_TRUE(writeNpy(path, dtype, shape, bytes.data()).ok());
    EXPECT_EQ(readFile(path).size() % 64, 48u) << "data at a multiple of 64";
    Result<Tensor> read = readNpy(path);
    ASSERT_TRUE(read.ok()) << read.status().message();
    EXPECT_EQ(read->dtype, dtype);
    EXPECT_EQ(read->shape, shape);
    EXPECT_EQ(memcmp(read->data.data(), bytes.data(), 48), 0);
  }
  ASSERT_TRUE(writeNpy(path, DType::F32, {}, bytes.data()).ok());
  EXPECT_TRUE(readNpy(path)->shape.empty());
  EXPECT_FALSE(writeNpy(path, DType::BF16, {2}, bytes.data()).ok());
  EXPECT_EQ(folder.files().size(), 1u);
}

TEST(Npy, HoldsTokensOfAnyIntegerType) {
  TemporaryFolder folder;
  std::string path = folder / "tokens.npy";
  // 0, 7 and the greatest that fits.
  auto check = [&](DType dtype, auto greatest) {
    decltype(greatest) ids[3] = {0, 7, greatest};
    ASSERT_TRUE(writeNpy(path, dtype, {1, 3}, ids).ok());
    Result<Tensor> array = readNpy(path);
    ASSERT_TRUE(array.ok()) << array.status().message();
    Result<std::vector<int64_t>> tokens = toTokens(*array);
    ASSERT_TRUE(tokens.ok()) << tokens.status().message();
    EXPECT_EQ(*tokens, (std::vector<int64_t>{0, 7, int64_t(greatest)}));
  };
  check(DType::U8, uint8_t(255));
  check(DType::I8, int8_t(127));
  check(DType::U16, uint16_t(65535));
  check(DType::I16, int16_t(32767));
  check(DType::U32, uint32_t(4294967295u));
  check(DType::I32, int32_t(2147483647));
  check(DType::I64, int64_t(1) << 40);
  int16_t negative[] = {-1};
  ASSERT_TRUE(writeNpy(path, DType::I16, {1}, negative).ok());
  EXPECT_EQ(toTokens(*readNpy(path))->front(), -1);
  for (DType dtype : {DType::U64, DType::F32, DType::Bool}) {
    double bytes[1] = {};
    ASSERT_TRUE(writeNpy(path, dtype, {1}, bytes).ok());
    EXPECT_NE(toTokens(*readNpy(path))
                  .status()
                  .message()
                  .find("expected token ids of type int64 or of a narrower"),
              std::string::npos);
  }
}

TEST(Npy, RefusesBadFiles) {
  TemporaryFolder folder;
  std::string path = folder / "a.npy";
  auto error = [&](const std::string &dictionary, int version = 1,
                   size_t dataBytes = 8) {
    std::string header = dictionary + "\n";
    std::string file = "\x93NUMPY" + std::string(1, char(version)) + '\0';
    for (int i = 0; i < (version == 1 ? 2 : 4); ++i)
      file += char(header.size() >> (8 * i));
    writeFile(path, file + header + std::string(dataBytes, '\0'));
    Result<Tensor> read = readNpy(path);
    return read.ok() ? "" : read.status().message();
  };
  auto dictionary = [](const std::string &descr, const std::string &fortran,
                       const std::string &shape) {
    return "{'descr': '" + descr + "', 'fortran_order': " + fortran +
           ", 'shape': " + shape + ", }";
  };
  EXPECT_EQ(error(dictionary("<i4", "False", "(2,)")), "");
  EXPECT_EQ(error(dictionary("<i4", "False", "(2,)"), 2), "");
  EXPECT_EQ(error(dictionary("<f8", "True", "(1,)")), "");
  EXPECT_NE(error(dictionary("<i4", "True", "(1, 2)")).find("Fortran"),
            std::string::npos);
  EXPECT_NE(error(dictionary(">i4", "False", "(2,)")).find("little-endian"),
            std::string::npos);
  for (const char *bad :
       {"", "{", "{}", "{'descr': '<i4'}", "{'descr': '<i4', 'descr': '<i4'}",
        "{'descr': [('a', '<i4')], 'fortran_order': False, 'shape': (2,)}"})
    EXPECT_NE(error(bad), "") << bad;
  for (const char *shape :
       {"(3,)", "(1,)", "(-2,)", "2", "(", "(2 2)", "(9223372036854775808,)",
        "(4294967296, 4294967296, 2)"})
    EXPECT_NE(error(dictionary("<i4", "False", shape)), "") << shape;
  EXPECT_NE(error(dictionary("<i4", "False", "(2,)"), 4), "");
  EXPECT_NE(error(dictionary("<i4", "False", "(2,)"), 1, 7), "");

  std::vector<int32_t> data(6);
  ASSERT_TRUE(writeNpy(path, DType::I32, {6}, data.data()).ok());
  std::string whole = readFile(path);
  for (size_t length = whole.size(); length-- > 0;) {
    ASSERT_EQ(truncate(path.c_str(), off_t(length)), 0);
    EXPECT_FALSE(readNpy(path).ok()) << length;
  }
}
