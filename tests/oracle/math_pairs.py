# SPDX-License-Identifier: MIT
"""Pairs of a target and an answer that are or are not the same mathematics: math_pairs.py > FILE.jsonl

What is written by hand was judged by hand; what is made from a template is true or false by the way it is made, with
Python's exact fractions. 524 pairs, half of them not equal."""

import json
import math
import random
from fractions import Fraction

N_PAIRS = 524

# kind | target | answer | equal
BY_HAND = r"""
box | 42 | The result is $\boxed{42}$. | 1
box | 42 | First \boxed{41}, no: \boxed{42} | 1
box | 42 | First \boxed{42}, no: \boxed{41} | 0
box | \frac{1}{2} | We get $\boxed{\frac{1}{2}}$ as claimed. | 1
box | x^{2} | \boxed{x^{2}} | 1
box | \frac{\sqrt{3}}{2} | Hence $\sin 60^\circ = \boxed{\frac{\sqrt{3}}{2}}$. | 1
box | 7 | \boxed{7}\text{ apples} | 1
box | 7 | \boxed{7\text{ apples}} | 1
box | 12 | \fbox{12} | 1
box | 3 | The answer is 3. | 1
box | 3 | The answer is $3$. | 1
box | 3 | The final answer is: $4$ | 0
box | 2x | The final answer is $2x$. | 1
prose | 18 | So she makes 9 * 2 = 18 dollars every day. | 1
prose | 18 | So she makes 9 * 2 = 19 dollars every day. | 0
prose | 1250 | In total that is $1,250. | 1
prose | 5 | There are 3 red balls and 5 blue ones, so the answer is 5. | 1
fraction | \frac{3}{4} | \frac{6}{8} | 1
fraction | \frac{3}{4} | 3/4 | 1
fraction | \frac{3}{4} | \frac34 | 1
fraction | \frac{3}{4} | \dfrac{3}{4} | 1
fraction | \frac{3}{4} | \tfrac{3}{4} | 1
fraction | \frac{3}{4} | \frac{4}{3} | 0
fraction | -\frac{3}{4} | \frac{-3}{4} | 1
fraction | -\frac{3}{4} | \frac{3}{-4} | 1
fraction | -\frac{3}{4} | \frac{-3}{-4} | 0
fraction | \frac{1}{3} | 0.333333 | 1
fraction | \frac{1}{3} | 0.33 | 0
fraction | \frac{22}{7} | \pi | 0
fraction | \frac{\frac{1}{2}}{3} | \frac{1}{6} | 1
fraction | \frac{1}{\frac{2}{3}} | \frac{3}{2} | 1
decimal | 0.5 | .5 | 1
decimal | 0.5 | 0.50 | 1
decimal | 0.5 | 0.05 | 0
decimal | 3.14 | \pi | 0
decimal | 3.141593 | \pi | 1
decimal | 2.718282 | e | 1
decimal | 1.5 \times 10^{3} | 1500 | 1
decimal | 1.5e3 | 1500 | 1
decimal | 6.02 \times 10^{23} | 6.02 \cdot 10^{23} | 1
decimal | 6.02 \times 10^{23} | 6.02 \times 10^{22} | 0
decimal | 10^{-3} | 0.001 | 1
mixed | 2\frac{1}{3} | \frac{7}{3} | 1
mixed | 2\frac{1}{3} | \frac{2}{3} | 0
mixed | -1\frac{1}{2} | -1.5 | 1
mixed | 3\frac{1}{4} | 3.25 | 1
mixed | 3\frac{1}{4} | 0.75 | 0
percent | 25\% | 25 | 1
percent | 25\% | 0.25 | 1
percent | 25\% | \frac{1}{4} | 1
percent | 25\% | 2.5 | 0
percent | 25 | 25\% | 1
percent | 12.5\% | 12.5 | 1
percent | 12.5\% | 0.125 | 1
percent | 150\% | 1.5 | 1
percent | 150\% | 15 | 0
degrees | 45^\circ | 45 | 1
degrees | 45^{\circ} | 45 | 1
degrees | 45 | 45^\circ | 1
degrees | 45^\circ | 54^\circ | 0
degrees | 120\degree | 120^\circ | 1
money | \$12 | 12 | 1
money | \$1,200.50 | 1200.5 | 1
money | 12 | \$12.00 | 1
money | \$12 | \$21 | 0
thousands | 12,345 | 12345 | 1
thousands | 1,234,567 | 1234567 | 1
thousands | 12{,}345 | 12345 | 1
thousands | 12\,345 | 12345 | 1
thousands | 12,345 | 12,354 | 0
units | 5\text{ cm} | 5 | 1
units | 5\text{ cm}^2 | 5 | 1
units | 5 | 5\,\text{cm} | 1
units | 5\text{ cm} | 6\text{ cm} | 0
units | 36\text{ square inches} | 36 | 1
units | 10\,\mathrm{m/s} | 10 | 1
units | 10\text{ mph} | 10 | 1
root | \sqrt{8} | 2\sqrt{2} | 1
root | \sqrt{8} | 2\sqrt{3} | 0
root | \sqrt{12} | 2\sqrt3 | 1
root | \frac{1}{\sqrt{2}} | \frac{\sqrt{2}}{2} | 1
root | \frac{1}{\sqrt{2}} | \frac{\sqrt{2}}{4} | 0
root | \sqrt[3]{27} | 3 | 1
root | \sqrt[3]{16} | 2\sqrt[3]{2} | 1
root | \sqrt[3]{16} | 2\sqrt{2} | 0
root | \sqrt{2}+\sqrt{3} | \sqrt{3}+\sqrt{2} | 1
root | \sqrt{2}+\sqrt{3} | \sqrt{5} | 0
root | \sqrt{2}\cdot\sqrt{3} | \sqrt{6} | 1
root | \sqrt{5+2\sqrt{6}} | \sqrt{2}+\sqrt{3} | 1
root | \frac{1+\sqrt{5}}{2} | \frac{2}{\sqrt{5}-1} | 1
root | \frac{1+\sqrt{5}}{2} | \frac{\sqrt{5}-1}{2} | 0
root | 4^{1/2} | 2 | 1
root | 8^{2/3} | 4 | 1
root | x^{1/2} | \sqrt{x} | 1
pi | 2\pi | \pi \cdot 2 | 1
pi | 2\pi | 6.283185 | 1
pi | 2\pi | 6.28 | 0
pi | \frac{\pi}{2} | \frac{1}{2}\pi | 1
pi | \frac{\pi}{2} | \frac{\pi}{3} | 0
pi | \pi^2 | \pi\pi | 1
pi | 9\pi | 9 | 0
power | 2^{10} | 1024 | 1
power | 2^{10} | 1023 | 0
power | 2^{100} | 1267650600228229401496703205376 | 1
power | 2^{100} | 1267650600228229401496703205377 | 0
power | 2^{-2} | \frac{1}{4} | 1
power | x^{-1} | \frac{1}{x} | 1
power | (2^3)^2 | 2^6 | 1
power | 2^{3^2} | 2^9 | 1
power | -2^2 | -4 | 1
power | (-2)^2 | 4 | 1
power | -2^2 | 4 | 0
power | e^{2} | e \cdot e | 1
power | e^{x+y} | e^x e^y | 1
power | e^{x+y} | e^x + e^y | 0
polynomial | x^2+2x+1 | (x+1)^2 | 1
polynomial | x^2+2x+1 | (x-1)^2 | 0
polynomial | x^2-y^2 | (x-y)(x+y) | 1
polynomial | x^2-y^2 | (x-y)^2 | 0
polynomial | 2x+3 | 3+2x | 1
polynomial | 2x+3 | 2y+3 | 0
polynomial | x^3-1 | (x-1)(x^2+x+1) | 1
polynomial | ab+ac | a(b+c) | 1
polynomial | ab+ac | a(b+c)+1 | 0
polynomial | x^2-5x+6 | (x-2)(x-3) | 1
polynomial | \frac{x^2-1}{x-1} | x+1 | 1
polynomial | \frac{x^2-1}{x-1} | x-1 | 0
polynomial | \frac{1}{x}+\frac{1}{y} | \frac{x+y}{xy} | 1
polynomial | \frac{1}{x}+\frac{1}{y} | \frac{1}{x+y} | 0
polynomial | n(n+1)/2 | \frac{n^2+n}{2} | 1
polynomial | 3a^2b | 3ba^2 | 1
polynomial | 3a^2b | 3ab^2 | 0
polynomial | a_1+a_2 | a_2+a_1 | 1
polynomial | a_1+a_2 | 2a_1 | 0
polynomial | \alpha+\beta | \beta+\alpha | 1
polynomial | |x| | \sqrt{x^2} | 1
polynomial | x | \sqrt{x^2} | 0
polynomial | |-3| | 3 | 1
polynomial | |-3| | -3 | 0
function | \sin^2 x + \cos^2 x | 1 | 1
function | \sin 2x | 2\sin x\cos x | 1
function | \sin 2x | 2\sin x | 0
function | \tan x | \frac{\sin x}{\cos x} | 1
function | \ln 2 + \ln 3 | \ln 6 | 1
function | \ln 2 + \ln 3 | \ln 5 | 0
function | \log_2 8 | 3 | 1
function | \log_{10} 1000 | 3 | 1
function | \log_2 8 | 4 | 0
function | \ln e | 1 | 1
function | \sin\frac{\pi}{6} | \frac{1}{2} | 1
function | \cos\pi | -1 | 1
function | \cos\pi | 1 | 0
function | \arctan 1 | \frac{\pi}{4} | 1
function | 5! | 120 | 1
function | 5! | 125 | 0
function | \binom{6}{2} | 15 | 1
function | \binom{6}{2} | 30 | 0
function | \frac{10!}{8!} | 90 | 1
complex | 3+4i | 4i+3 | 1
complex | 3+4i | 3-4i | 0
complex | i^2 | -1 | 1
complex | (1+i)^2 | 2i | 1
complex | (1+i)(1-i) | 2 | 1
complex | \frac{1}{i} | -i | 1
complex | \frac{1}{i} | i | 0
tuple | (1,2) | (1, 2) | 1
tuple | (1,2) | (2, 1) | 0
tuple | (1,2) | \left(1,2\right) | 1
tuple | (3,\frac{\pi}{2}) | \left(3, \frac{1}{2}\pi\right) | 1
tuple | (3,\frac{\pi}{2}) | (3,\pi) | 0
tuple | (1,2,3) | (1,2,3) | 1
tuple | (1,2,3) | (1,2) | 0
tuple | (0.5, 1) | (\frac{1}{2}, 1) | 1
tuple | (-1, 4) | (1, -4) | 0
set | \{1,2,3\} | \{3,2,1\} | 1
set | \{1,2,3\} | \{1,2\} | 0
set | \{1,2,3\} | 1, 2, 3 | 1
set | 1, 2 | 2, 1 | 1
set | 1, 2 | 1, 3 | 0
set | 1,-2 | -2,1 | 1
set | 1 \text{ and } 2 | 2, 1 | 1
set | 3 \text{ or } -3 | \pm 3 | 1
set | \pm 3 | 3 | 0
set | 1\pm\sqrt{2} | 1+\sqrt{2}, 1-\sqrt{2} | 1
set | 1\pm\sqrt{2} | 1+\sqrt{2} | 0
set | \{5\} | 5 | 1
set | \emptyset | \varnothing | 1
set | \emptyset | 0 | 0
interval | [0,1) | [0, 1) | 1
interval | [0,1) | (0,1] | 0
interval | [0,1] | [0,1) | 0
interval | (-\infty, 3) | (-\infty,3) | 1
interval | (-\infty, 3) | (3, \infty) | 0
interval | (-\infty,0)\cup(1,\infty) | (1,\infty)\cup(-\infty,0) | 1
interval | (-\infty,0)\cup(1,\infty) | (-\infty,0)\cup[1,\infty) | 0
interval | x \in [1,2] | [1,2] | 1
interval | [1, \frac{3}{2}] | [1, 1.5] | 1
inequality | x > 3 | x>3 | 1
inequality | x > 3 | 3 < x | 1
inequality | x > 3 | x < 3 | 0
inequality | x > 3 | x \ge 3 | 0
inequality | x > 3 | (3,\infty) | 1
inequality | x \le 2 | (-\infty, 2] | 1
inequality | x \le 2 | (-\infty, 2) | 0
inequality | 1 < x < 4 | (1,4) | 1
inequality | 1 < x \le 4 | (1,4] | 1
inequality | 1 < x \le 4 | [1,4) | 0
inequality | 2x > 6 | x > 3 | 1
inequality | -x > 3 | x < -3 | 1
inequality | -x > 3 | x > -3 | 0
inequality | x \geq 2 | x \geqslant 2 | 1
equation | x=5 | 5 | 1
equation | 5 | x=5 | 1
equation | x=5 | x = 5 | 1
equation | x=5 | y=5 | 0
equation | x=5 | x=6 | 0
equation | x=\frac12 | 0.5 | 1
equation | y=2x+3 | y = 3+2x | 1
equation | y=2x+3 | 2x+3 | 1
equation | y=2x+3 | 2x-y+3=0 | 1
equation | y=2x+3 | y=2x-3 | 0
equation | x^2+y^2=25 | 25=x^2+y^2 | 1
equation | x^2+y^2=25 | x^2+y^2=5 | 0
equation | 3x+2y=6 | 6x+4y=12 | 1
equation | 3x+2y=6 | 6x+4y=6 | 0
equation | f(x)=2x+1 | 2x+1 | 1
equation | x=1, y=2 | y=2, x=1 | 1
equation | x=1, y=2 | x=2, y=1 | 0
equation | x=2 \text{ or } x=3 | 2, 3 | 1
matrix | \begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix} | \begin{bmatrix} 1 & 2 \\ 3 & 4 \end{bmatrix} | 1
matrix | \begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix} | \begin{pmatrix} 1 & 3 \\ 2 & 4 \end{pmatrix} | 0
matrix | \begin{pmatrix} 1 \\ 2 \end{pmatrix} | \begin{pmatrix} 1 & 2 \end{pmatrix} | 0
matrix | \begin{pmatrix} \frac12 \\ -1 \end{pmatrix} | \begin{pmatrix} 0.5 \\ -1 \end{pmatrix} | 1
text | \text{Monday} | \text{Monday} | 1
text | \text{Monday} | \text{Tuesday} | 0
text | \text{east} | \boxed{\text{east}} | 1
text | \text{(B)} | B | 1
text | \text{(B)} | \text{(C)} | 0
text | A | \boxed{A} | 1
text | A | B | 0
text | \text{even} | \text{odd} | 0
text | \text{no solution} | 0 | 0
number | 0 | -0 | 1
number | 7 | 007 | 1
number | -3 | 3 | 0
number | 1000000 | 10^6 | 1
number | 17 | \frac{34}{2} | 1
number | 17 | 71 | 0
number | 6 | 3 \times 2 | 1
number | 6 | 3 + 2 | 0
number | 5 | 5.0 | 1
number | \infty | \infty | 1
number | \infty | -\infty | 0
various | (-\infty, 2) \cup (3, \infty) | x<2 or x>3 | 1
various | \text{June 20} | June 20 | 1
various | \$32,\!348 | 32348 | 1
various | 10,\!000 | 10000 | 1
various | \left\{ 1,2 \right\} | \{2,1\} | 1
various | \text{Yes} | Yes | 1
various | \text{Yes} | No | 0
various | x=90^\circ | x=90 | 1
various | f^{-1}(x)=\frac{x-1}{2} | \frac{x-1}{2} | 1
various | 5 | f(2)=5 | 1
various | (1,2) | (x,y)=(1,2) | 1
various | (3,4) | a=3, b=4 | 1
various | (-\infty,3) | -\infty < x < 3 | 1
various | (-\infty,3] | -\infty < x < 3 | 0
various | \sqrt{3} | \sqrt{3} \approx 1.732 | 1
various | \frac{5}{8} | $\frac{5}{8}$ of the pizza | 1
various | 3.5 | approximately 3.5 | 1
various | 20\% | about 20% | 1
various | x=1\pm\sqrt{3} | 1+\sqrt3, 1-\sqrt3 | 1
various | \sin(30^\circ) | \frac12 | 1
various | 7 | 3 + 4 = 7 | 1
various | 7 | 3 + 5 = 8 | 0
various | 5 | **Answer:** 5 | 1
various | 5 | **Answer: 5** | 1
various | 2 | The answer is 5 because 2+3=5. | 0
various | \frac{\pi}{2}+2\pi k | 2k\pi+\frac{\pi}{2} | 1
various | [0, \frac{1}{2}] | \left[ 0, 0.5 \right] | 1
various | dog | god | 0
various | x^2 | x^3 | 0
various | -2 | |-2| | 0
various | 100 | 1,00 | 0
various | 3\sqrt{13} | \boxed{3\sqrt{13}}. | 1
various | p - q | \boxed{p-q} | 1
various | \left( 3, \frac{\pi}{2} \right) | Thus $(r,\theta)=\boxed{\left(3,\frac{\pi}{2}\right)}$ | 1
various | \frac{14}{3} | $f(-2)+f(-1)+f(0)=\boxed{\frac{14}{3}}$ | 1
various | \text{Evelyn} | \boxed{\text{Evelyn}} | 1
various | \text{Evelyn} | Evelyn | 1
various | 4210_{5} | 4210_5 | 1
various | 4210_{5} | 4210_6 | 0
various | \text{(E)} | \textbf{(E)} | 1
various | 6 - 5i | -5i+6 | 1
various | \begin{pmatrix} -7 \\ 16 \\ 5 \end{pmatrix} | \boxed{\begin{pmatrix}-7\\16\\5\end{pmatrix}} | 1
various | x^3 + 3x - 6 | x^3+3x-6 | 1
various | y = 2x + 3 | \boxed{y=2x+3} | 1
various | 1 \pm \sqrt{19} | 1-\sqrt{19}, 1+\sqrt{19} | 1
various | \sqrt{51} | \sqrt{51}\text{ units} | 1
various | 13535 | 13,535 | 1
various | [-2,7] | -2 \le x \le 7 | 1
various | 3, 5, 7 | 3,5, and 7 | 1
various | (0,9) \cup (9,36) | (0,9)\cup(9,36) | 1
various | 6+9i | 6 + 9i | 1
various | \frac{270}7\text{ degrees} | \frac{270}{7} | 1
various | .0000672 | 6.72\times10^{-5} | 1
various | 2516_8 | 2516 | 0
various | 11\sqrt2 | 11\sqrt{2} | 1
various | \pi | 3.14 | 0
various | 2k | $2k$ | 1
various | \infty | infinity | 1
various | 1/0 | 2/0 | 0
various | \dfrac{3}{2} | 1 1/2 | 1
various | a+b | ab | 0
various | e | 2.71828 | 0
various | AB | BA | 1
various | \$18.90 | 18.9 dollars | 1
various | 5 | five | 0
various | x>-2 | x \in (-2,\infty) | 1
various | 0 | \varnothing | 0
various | 2\sqrt{2}+2\sqrt{3} | 2(\sqrt{2}+\sqrt{3}) | 1
various | -\frac{1}{2} | -1/2 | 1
various | 12:30 | 12:30 | 1
various | 3:2 | 6:4 | 1
various | 3:2 | 2:3 | 0
"""


def tex(q):
    q = Fraction(q)
    if q.denominator == 1:
        return str(q.numerator)
    return ("-" if q < 0 else "") + r"\frac{%d}{%d}" % (abs(q.numerator), q.denominator)


def terms(coefficients, name="x"):
    """A polynomial's text, highest power first."""
    out, degree = "", len(coefficients) - 1
    for i, c in enumerate(coefficients):
        power = degree - i
        if c == 0:
            continue
        size = "" if abs(c) == 1 and power > 0 else tex(abs(c))
        letter = "" if power == 0 else name if power == 1 else name + "^{%d}" % power
        out += ("-" if c < 0 else "+" if out else "") + size + letter
    return out or "0"


class Maker:
    def __init__(self):
        self.rng = random.Random(1906)

    def small(self, low=2, high=12):
        return self.rng.randint(low, high)

    def nonzero(self, size=9):
        return self.rng.choice([-1, 1]) * self.rng.randint(1, size)

    def fraction(self, equal):
        q = Fraction(self.nonzero(40), self.small())
        k = self.small(2, 6)
        p = q if equal else q + Fraction(self.rng.choice([-1, 1]), self.small(2, 9))
        return tex(q), r"\frac{%d}{%d}" % (p.numerator * k, p.denominator * k)

    def decimal(self, equal):
        n = self.nonzero(9999)
        q, p = Fraction(n, 1000), Fraction(n if equal else n + self.rng.choice([-10, -1, 1, 10]), 1000)
        return tex(q), str(float(p))

    def thousands(self, equal):
        n = self.rng.randint(1000, 99999999)
        return str(n), format(n if equal else n + self.rng.choice([-1, 1, 10]), ",")

    def mixed(self, equal):
        whole, d = self.small(), self.small(3, 9)
        q = Fraction(whole) + Fraction(self.rng.randint(1, d - 1), d)
        part = q - whole
        return tex(q if equal else q + 1), r"%d\frac{%d}{%d}" % (whole, part.numerator, part.denominator)

    def square(self, equal):
        a, b = self.nonzero(), self.nonzero()
        expanded = [a * a, 2 * a * b, b * b if equal else b * b + self.nonzero(5)]
        return "(%s)^2" % terms([a, b]), terms(expanded)

    def product(self, equal):
        name = self.rng.choice("xyzt")
        a, b, c, d = (self.nonzero() for _ in range(4))
        middle = a * d + b * c + (0 if equal else self.nonzero(4))
        return terms([a * c, middle, b * d], name), "(%s)(%s)" % (terms([a, b], name), terms([c, d], name))

    def cubic(self, equal):
        a, b, c = (self.nonzero(5) for _ in range(3))
        coefficients = [1, -(a + b + c), a * b + b * c + a * c, -a * b * c + (0 if equal else self.nonzero(3))]
        return terms(coefficients), "".join("(%s)" % terms([1, -r]) for r in (c, a, b))

    def root(self, equal):
        k, n = self.small(2, 9), self.rng.choice([2, 3, 5, 6, 7, 10])
        return r"\sqrt{%d}" % (k * k * n), r"%d\sqrt{%d}" % (k if equal else k + 1, n)

    def rational_root(self, equal):
        a, n = self.small(), self.rng.choice([2, 3, 5, 7])
        return r"\frac{%d}{\sqrt{%d}}" % (a, n), r"\frac{%d\sqrt{%d}}{%d}" % (a, n, n if equal else n + 1)

    def pair(self, equal):
        a, b = Fraction(self.nonzero(20), self.small(1, 3)), Fraction(self.nonzero(20), self.small(1, 3))
        while a == b:
            b += 1
        x, y = (a, b) if equal else (b, a)
        return "(%s,%s)" % (tex(a), tex(b)), r"\left( %s, %s \right)" % (tex(x), tex(y))

    def set_of(self, equal):
        members = self.rng.sample(range(-20, 40), self.small(2, 5))
        shuffled = members[::-1] if equal else members[:-1] + [members[-1] + 100]
        return r"\{%s\}" % ", ".join(map(str, members)), r"\{%s\}" % ",".join(map(str, shuffled))

    def interval(self, equal):
        a = self.nonzero(20)
        b = a + self.small()
        low, high = self.rng.choice("(["), self.rng.choice(")]")
        text = low + "%d, %d" % (a, b) + high
        shown = text if equal else self.rng.choice([("[" if low == "(" else "(") + text[1:], text[:-1] + ("]" if high == ")" else ")")])
        sides = "%d %s x %s %d" % (a, "<" if shown[0] == "(" else r"\le", "<" if shown[-1] == ")" else r"\leq", b)
        return (sides, text) if equal or self.rng.random() < 0.5 else (shown, text)

    def line(self, equal):
        m, b, k = self.nonzero(), self.nonzero(), self.nonzero(4)
        shift = 0 if equal else self.nonzero(5)
        return "y = " + terms([m, b]), "%s%s = %s" % (terms([-m * k]) + "x", ("+" if k > 0 else "") + terms([k, 0], "y"), b * k + shift)

    def solution(self, equal):
        q = Fraction(self.nonzero(30), self.small(1, 4))
        return self.rng.choice("xyabnk") + " = " + tex(q), str(q if equal else q + 1)

    def boxed(self, equal):
        n = self.rng.randint(2, 900)
        frames = ["Adding both gives $\\boxed{%d}$.", "So the answer is \\boxed{%d}", "Therefore, the answer is $%d$.", "The answer is %d."]
        return str(n), "We have %d cases. " % self.small() + self.rng.choice(frames) % (n if equal else n + self.nonzero(9))

    def power(self, equal):
        a, n = self.small(2, 9), self.small(5, 30)
        return "%d^{%d}" % (a, n), str(a**n + (0 if equal else self.nonzero(3)))

    def factorial(self, equal):
        n, k = self.small(5, 12), self.small(2, 4)
        value = math.comb(n, k)
        return r"\binom{%d}{%d}" % (n, k), r"\frac{%d!}{%d!\,%d!}" % (n, k, n - k) if equal else str(value + 1)

    def unit(self, equal):
        n = self.small(2, 300)
        unit = self.rng.choice([r"\text{ cm}", r"\text{ miles}", r"\text{ dollars}", r"^\circ", r"\text{ m}^2", r"\,\text{hours}", r"\%"])
        return "%d%s" % (n, unit), str(n if equal else n + 10)

    def pi(self, equal):
        q = Fraction(self.nonzero(12), self.small(2, 6))
        p = q if equal else q + Fraction(1, 2)
        return tex(q) + r"\pi", r"\frac{%d\pi}{%d}" % (p.numerator, p.denominator)

    def matrix(self, equal):
        cells = [self.nonzero() for _ in range(4)]
        shown = cells if equal else [cells[0], cells[1], cells[2], -cells[3]]
        body = r"\begin{%s} %d & %d \\ %d & %d \end{%s}"
        return body % (("pmatrix", *cells, "pmatrix")), body % (("bmatrix", *shown, "bmatrix"))

    def logarithm(self, equal):
        b, n = self.small(2, 6), self.small(2, 5)
        return r"\log_{%d} %d" % (b, b**n), str(n if equal else n + 1)

    def complex(self, equal):
        a, b, c, d = (self.nonzero(6) for _ in range(4))
        re, im = a * c - b * d, a * d + b * c + (0 if equal else 1)

        def show(x, y):
            return "%d%+di" % (x, y)

        return "(%s)(%s)" % (show(a, b), show(c, d)), show(re, im)

    def trig(self, equal):
        table = [(r"\sin\frac{\pi}{3}", r"\frac{\sqrt{3}}{2}"), (r"\cos\frac{\pi}{4}", r"\frac{1}{\sqrt{2}}"), (r"\tan\frac{\pi}{6}", r"\frac{\sqrt{3}}{3}"),
                 (r"\sin\frac{5\pi}{6}", r"\frac{1}{2}"), (r"\cos\frac{2\pi}{3}", r"-\frac{1}{2}"), (r"\tan\frac{3\pi}{4}", "-1")]
        i = self.rng.randrange(len(table))
        return table[i][0], table[i if equal else i - 1][1]

    def recurring(self, equal):
        n, digits = self.small(0, 9), self.rng.choice(["3", "6", "12", "45", "142857"])
        q = n + Fraction(int(digits), 10 ** len(digits) - 1)
        return r"%d.\overline{%s}" % (n, digits), tex(q if equal else q + Fraction(1, 90))

    def identity(self, equal):
        k = self.small(2, 9)
        table = [(r"%d\sin x\cos x" % (2 * k), r"%d\sin 2x" % k), (r"(x+%d)^2-(x-%d)^2" % (k, k), "%dx" % (4 * k)),
                 (r"e^{%d\ln x}" % k, "x^{%d}" % k) if k % 2 == 0 else (r"2^{x+%d}" % k, r"%d\cdot 2^x" % 2**k),
                 (r"\frac{x^2-%d}{x-%d}" % (k * k, k), "x+%d" % k)]
        target, answer = self.rng.choice(table)
        return target, answer if equal else answer + "+1"


def by_hand():
    for line in BY_HAND.strip().split("\n"):
        kind, rest = line.split(" | ", 1)
        body, equal = rest.rsplit(" | ", 1)
        target, answer = body.split(" | ")
        yield {"kind": kind, "target": target, "answer": answer, "equal": equal == "1"}


def pairs():
    out = list(by_hand())
    maker = Maker()
    families = [name for name, method in vars(Maker).items() if callable(method) and name not in ("__init__", "small", "nonzero")]
    seen = {(pair["target"], pair["answer"]) for pair in out}
    turn = 0
    while len(out) < N_PAIRS:
        n_equal = sum(pair["equal"] for pair in out)
        equal = n_equal < len(out) - n_equal if n_equal >= N_PAIRS // 2 or len(out) - n_equal >= N_PAIRS // 2 else maker.rng.random() < 0.38
        equal = n_equal < N_PAIRS // 2 and (equal or len(out) - n_equal >= N_PAIRS // 2)
        name = families[turn % len(families)]
        turn += 1
        target, answer = getattr(maker, name)(equal)
        if (target, answer) not in seen:
            seen.add((target, answer))
            out.append({"kind": name, "target": target, "answer": answer, "equal": equal})
    return out


if __name__ == "__main__":
    for pair in pairs():
        print(json.dumps(pair, ensure_ascii=False))
